// What berth is for, from a client's side: a workspace with files, code in three languages, a server in the
// background that is heard of later, editing, searching, and an end. The same steps for every client.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const core = [
    'workspace_create', 'workspace_get', 'workspace_list', 'workspace_delete', 'run_command', 'read_process_output',
    'send_process_input', 'stop_process', 'read_file', 'write_file', 'edit_file', 'search_files',
];

const files = {
    'main.py': 'import sys\nprint("python says", 6 * 7, sys.version_info.major)\n',
    'src/app.js': 'console.log("node says", [1, 2, 3].map((x) => x * x).join(","));\n',
    'src/hello.c': '#include <stdio.h>\nint main(void) { printf("c says %zu\\n", sizeof(long)); return 3; }\n',
    'server.py': [
        'import http.server, sys',
        'class Handler(http.server.BaseHTTPRequestHandler):',
        '    def do_GET(self):',
        '        print("asked for", self.path, flush=True)',
        '        self.send_response(200)',
        '        self.end_headers()',
        '        self.wfile.write(b"served " + self.path.encode())',
        '    def log_message(self, *arguments): pass',
        'server = http.server.HTTPServer(("127.0.0.1", 8000), Handler)',
        'print("listening", flush=True)',
        'server.serve_forever()',
        ''].join('\n'),
};

/** Registers one test with a subtest a step. `connect` gives a client of clients.mjs. */
export function mainJob(title, berth, connect, expectedEra) {
    test(title, { timeout: 280_000 }, async (t) => {
        const client = await connect(berth());
        let workspace;
        const good = async (name, args) => {
            const answer = await client.call(name, args);
            assert.ok(!answer.failed, `${name} failed: ${answer.text}`);
            assert.ok(answer.structured, `${name} gave no structuredContent`);
            return answer;
        };
        const here = (name, args = {}) => good(name, { workspace_id: workspace, ...args });
        const shell = async (command, more = {}) => (await here('run_command', { command, ...more })).structured;
        // Waits for words in a process's output, reading on from where the last read ended.
        const hear = async (process, words) => {
            let output = '', cursor;
            for (let reads = 0; reads < 100; reads++) {
                const part = (await good('read_process_output',
                    { process_id: process, wait_ms: 1000, ...(cursor === undefined ? {} : { cursor }) })).structured;
                output += part.output;
                cursor = part.cursor;
                if (output.includes(words)) return output;
                if (part.state === 'exited') break;
            }
            assert.fail(`"${words}" never came, only: ${output}`);
        };

        try {
            await t.test('speaks the revision that was asked for', () => {
                assert.equal(client.era, expectedEra);
            });

            await t.test('offers the core tools, each with schemas and annotations', async () => {
                const offered = await client.tools();
                const names = offered.map((tool) => tool.name);
                for (const name of core) assert.ok(names.includes(name), `${name} is missing in ${names}`);
                for (const tool of offered) {
                    assert.equal(tool.inputSchema?.type, 'object', tool.name);
                    assert.ok(tool.description, tool.name);
                    assert.ok(tool.annotations, tool.name);
                }
            });

            await t.test('creates a workspace with files', async () => {
                const created = await good('workspace_create', { files, env: { GREETING: 'from the environment' } });
                workspace = created.structured.workspace_id;
                assert.equal(typeof workspace, 'string');
                assert.equal(created.structured.state, 'running');
                assert.ok(created.text.includes(workspace), 'the text names the workspace too');
            });
            // Without a workspace the other steps would only repeat the same failure.
            if (!workspace) return;

            await t.test('runs Python', async () => {
                const ended = await shell('python3 main.py');
                assert.equal(ended.state, 'exited');
                assert.equal(ended.exit_code, 0);
                assert.match(ended.output, /python says 42 3/);
            });

            await t.test('runs Node in a directory below', async () => {
                const ended = await shell('node app.js', { cwd: 'src' });
                assert.equal(ended.exit_code, 0, ended.output);
                assert.match(ended.output, /node says 1,4,9/);
            });

            await t.test('compiles and runs a C program, and gives its exit code', async () => {
                const ended = await shell('gcc -o hello src/hello.c && ./hello');
                assert.match(ended.output, /c says 8/);
                assert.equal(ended.exit_code, 3);
            });

            await t.test('gives a command its environment and input', async () => {
                const ended = await shell('echo "$GREETING $MORE"; cat',
                    { env: { MORE: 'and more' }, stdin: 'typed in' });
                assert.match(ended.output, /from the environment and more\ntyped in/);
            });

            await t.test('cuts long output and says so', async () => {
                const ended = await shell('seq 1 100000', { max_output_chars: 2000 });
                assert.equal(ended.truncated, true);
                assert.ok(ended.total_bytes > 500_000, `total_bytes is ${ended.total_bytes}`);
                assert.match(ended.output, /^1\n/);
                assert.match(ended.output, /100000\n?$/);
            });

            await t.test('hands back a command that takes longer than its limit, and stops it', async () => {
                const slow = await shell('echo begun; sleep 600', { timeout_ms: 1500 });
                assert.equal(slow.state, 'running');
                assert.ok(slow.process_id);
                await good('stop_process', { process_id: slow.process_id, grace_ms: 1000 });
                const ended = await good('read_process_output', { process_id: slow.process_id, wait_ms: 5000 });
                assert.equal(ended.structured.state, 'exited');
            });

            await t.test('keeps a server in the background and reads its output later', async () => {
                const started = await shell('python3 server.py', { background: true });
                assert.equal(started.state, 'running');
                await hear(started.process_id, 'listening');
                const asked = await shell('curl -s --noproxy "*" http://127.0.0.1:8000/some/page');
                assert.equal(asked.output, 'served /some/page');
                await hear(started.process_id, 'asked for /some/page');
                await good('stop_process', { process_id: started.process_id, grace_ms: 1000 });
                const after = await shell('curl -s --noproxy "*" http://127.0.0.1:8000/');
                assert.notEqual(after.exit_code, 0);
            });

            await t.test('talks to a process that waits for input', async () => {
                const program = [
                    'import sys', 'for line in sys.stdin:', '    print("heard", line.strip(), flush=True)',
                    'print("bye")', ''].join('\n');
                await here('write_file', { path: 'echo.py', content: program });
                const { process_id } = await shell('python3 echo.py', { background: true });
                await good('send_process_input', { process_id, input: 'one\n' });
                await hear(process_id, 'heard one');
                await good('send_process_input', { process_id, input: 'two\n', eof: true });
                await hear(process_id, 'bye');
            });

            await t.test('writes, reads and edits a file', async () => {
                const written = await here('write_file',
                    { path: 'notes/list.txt', content: 'alpha\nbeta\ngamma\n' });
                assert.equal(written.structured.bytes, 17);
                assert.match(written.structured.sha256, /^[0-9a-f]{64}$/);
                await here('edit_file', {
                    path: 'notes/list.txt',
                    edits: [{ old_string: 'beta', new_string: 'delta' }],
                    if_sha256: written.structured.sha256,
                });
                const read = await here('read_file', { path: 'notes/list.txt' });
                assert.match(read.text, /alpha[\s\S]*delta[\s\S]*gamma/);
                assert.equal((await shell('cat notes/list.txt')).output, 'alpha\ndelta\ngamma\n');
            });

            await t.test('refuses an edit of a file that changed since, and one that fits nowhere', async () => {
                const stale = await client.call('edit_file', {
                    workspace_id: workspace, path: 'notes/list.txt', if_sha256: '0'.repeat(64),
                    edits: [{ old_string: 'alpha', new_string: 'omega' }],
                });
                assert.ok(stale.failed, stale.text);
                const nowhere = await client.call('edit_file', {
                    workspace_id: workspace, path: 'notes/list.txt',
                    edits: [{ old_string: 'no such words', new_string: 'omega' }],
                });
                assert.ok(nowhere.failed, nowhere.text);
                assert.equal((await shell('cat notes/list.txt')).output, 'alpha\ndelta\ngamma\n');
            });

            await t.test('searches by name and by content', async () => {
                const named = await here('search_files', { glob: '**/*.c' });
                assert.match(named.text, /src\/hello\.c/);
                assert.doesNotMatch(named.text, /app\.js/);
                const matched = await here('search_files', { regex: 'node\\s+says' });
                assert.match(matched.text, /src\/app\.js/);
                assert.doesNotMatch(matched.text, /hello\.c/);
            });

            await t.test('shows nothing of the host: neither its files nor its network', async () => {
                const secret = join(berth().directory, 'host-secret');
                writeFileSync(secret, 'only the host has this');
                for (const path of [secret, `../../../../../../..${secret}`]) {
                    const read = await client.call('read_file', { workspace_id: workspace, path });
                    assert.ok(read.failed, `read_file gave ${path}`);
                }
                await shell(`ln -s ${secret} link`);
                const link = await client.call('read_file', { workspace_id: workspace, path: 'link' });
                assert.ok(link.failed, 'read_file followed a link to the host');
                const cat = await shell(`cat ${secret}`);
                assert.notEqual(cat.exit_code, 0);
                const network = await shell(`curl -s -m 5 --noproxy "*" http://127.0.0.1:${berth().port}/healthz`);
                assert.notEqual(network.exit_code, 0, 'the sandbox reached the host');
            });

            await t.test('answers a mistake with an error that names it', async () => {
                const unknown = await client.call('run_command',
                    { workspace_id: 'w-does-not-exist', command: 'true' });
                assert.ok(unknown.failed);
                assert.ok(unknown.text.length > 0);
                const absent = await client.call('read_file', { workspace_id: workspace, path: 'no/such/file' });
                assert.ok(absent.failed);
                assert.match(absent.text, /no\/such\/file/);
            });

            await t.test('lists and describes the workspace', async () => {
                const listed = await good('workspace_list', {});
                assert.ok(JSON.stringify(listed.structured).includes(workspace));
                const shown = await here('workspace_get');
                assert.equal(shown.structured.workspace_id, workspace);
            });

            await t.test('deletes it', async () => {
                await here('workspace_delete');
                const gone = await client.call('workspace_get', { workspace_id: workspace });
                assert.ok(gone.failed);
                workspace = undefined;
            });
        } finally {
            if (workspace) await client.call('workspace_delete', { workspace_id: workspace }).catch(() => {});
            await client.close();
        }
    });
}
