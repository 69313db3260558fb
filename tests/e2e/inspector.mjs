// The inspector's command line, which connects anew for every call: what a call needs must not live in a
// connection.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspector } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';

// `lasting`: the server outlives the connection, and with it what runs in a workspace. On stdio the inspector's
// connection is the server's whole life, and only files last.
function job(title, berth, lasting, connect) {
    test(title, { timeout: 200_000 }, async () => {
        const client = connect(berth());
        const good = async (name, args) => {
            const answer = await client.call(name, args);
            assert.ok(!answer.failed, `${name} failed: ${answer.text}`);
            return answer;
        };
        const names = (await client.tools()).map((tool) => tool.name);
        assert.ok(names.includes('run_command'), `tools: ${names}`);

        const created = await good('workspace_create',
            { files: { 'main.py': 'print("python says", 6 * 7)\n' } });
        const workspace_id = created.structured.workspace_id;
        const run = async (command, more = {}) =>
            (await good('run_command', { workspace_id, command, ...more })).structured;
        assert.match((await run('python3 main.py')).output, /python says 42/);
        await good('write_file', { workspace_id, path: 'app.js', content: 'console.log("node says", 3 * 3)\n' });
        await good('edit_file',
            { workspace_id, path: 'app.js', edits: [{ old_string: '3 * 3', new_string: '4 * 4' }] });
        assert.match((await run('node app.js')).output, /node says 16/);
        await good('write_file', { workspace_id, path: 'a.c', content: 'int main(void) { return 7; }\n' });
        assert.equal((await run('gcc a.c && ./a.out')).exit_code, 7);

        if (lasting) {
            const { process_id } = await run('python3 -um http.server 8000', { background: true });
            const asked = await run(
                'curl -s --noproxy "*" --retry 30 --retry-connrefused --retry-delay 1 127.0.0.1:8000/main.py');
            assert.match(asked.output, /python says/);
            const heard = await good('read_process_output', { process_id });
            assert.match(heard.structured.output, /GET \/main\.py/);
            await good('stop_process', { process_id, grace_ms: 1000 });
        }

        const found = await good('search_files', { workspace_id, regex: 'node says' });
        assert.match(found.text, /app\.js/);
        await good('workspace_delete', { workspace_id });
        assert.ok((await client.call('workspace_get', { workspace_id })).failed);
    });
}

suite((berth) => {
    job('inspector over stdio', berth, false, (it) => inspector(it, 'stdio', 'legacy'));
    job('inspector over HTTP', berth, true, (it) => inspector(it, 'http', 'legacy'));
    job('inspector over HTTP, 2026-07-28', berth, true, (it) => inspector(it, 'http', 'modern'));
});
