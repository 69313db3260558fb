// Code mode: one command in a workspace calls tools by itself. What it gets is what run_command named, for as long as the
// caller waits, and every rule that holds for a call of the caller's holds for one of the command's.
import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { v2 } from './lib/clients.mjs';
import { absent, askable, everything, pause, settled, until } from './lib/community.mjs';
import { suite } from './lib/suite.mjs';
import { HttpClient } from './lib/wire.mjs';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures');
const fixture = (script, args, more = {}) => ({
    command: 'node', args: [join(fixtures, script), ...args], ...more, sandbox: { filesystem: { allowRead: [fixtures] }, memoryMb: 256 },
});
const secret = `s3cret-${Math.random().toString(36).slice(2)}`;
const servers = {
    everything: everything(),
    good: fixture('bad_server.mjs', ['good']),
    leaky: fixture('leaky_server.mjs', [], { env: { API_TOKEN: secret } }),
    few: fixture('leaky_server.mjs', [], { env: { API_TOKEN: 'nothing secret' }, callsPerMinute: 3 }),
};

const sum = `
import berth_tools, re
total = 0
for n in range(50):
    text = berth_tools.call("everything__get-sum", {"a": n, "b": 1})
    total += int(re.search(r"is (\\d+)", text).group(1))
print("total", total)
`;
const sumInNode = `
const { call } = require('berth_tools');
(async () => {
    const texts = await Promise.all(Array.from({ length: 50 }, (_, n) => call('everything__get-sum', { a: n, b: 1 })));
    console.log('total', texts.map((text) => Number(/is (\\d+)/.exec(text)[1])).reduce((a, b) => a + b));
})();
`;
const sumInModule = "import { call } from '/run/berth/tools/berth_tools.js';\nconsole.log(await call('everything__get-sum', { a: 20, b: 22 }));\n";

suite((berth) => {
    let client, workspace;
    const ready = async () => {
        if (client) return;
        for (const name of Object.keys(servers)) assert.equal((await settled(berth(), name)).state, 'ready');
        client = await v2(berth(), 'http', { pin: '2026-07-28' });
        const made = await client.call('workspace_create', { name: 'scripts', files: { 'sum.py': sum, 'sum.cjs': sumInNode, 'sum.mjs': sumInModule } });
        workspace = made.structured.workspace_id;
    };
    const run = async (command, tools, more = {}) => {
        await ready();
        return client.call('run_command', { workspace_id: workspace, command, ...tools && { tools }, ...more });
    };
    const python = (lines, tools, more) => run('python3 -', tools, { stdin: lines, ...more });
    const rows = (what) => {
        const database = new DatabaseSync(join(berth().data, 'registry.sqlite'), { readOnly: true });
        try {
            return database.prepare('SELECT detail FROM audit WHERE workspace = ? AND what = ? ORDER BY id')
                .all(what === 'tool call' ? 'servers/everything' : workspace, what).map(({ detail }) => JSON.parse(detail));
        } finally {
            database.close();
        }
    };
    const calls = async (server) => (await berth().tool('server_status', { server })).calls;

    if (!absent) {
        test('fifty calls of a script, and one line for the model', async (t) => {
            await ready();
            const before = await calls('everything');
            for (const [name, command] of [['Python', 'python3 sum.py'], ['Node', 'node sum.cjs']]) {
                await t.test(name, async () => {
                    const { failed, structured, text } = await run(command, ['everything__get-sum']);
                    assert.ok(!failed, text);
                    assert.equal(structured.output, 'total 1275\n');
                    assert.equal(structured.tool_calls, 50);
                    assert.equal(text, 'total 1275\n[50 tool calls]\n[exit code 0]');
                });
            }
            assert.equal(await calls('everything'), before + 100);
            await t.test('an ES module of Node, and a shell', async () => {
                assert.equal((await run('node sum.mjs', ['everything__get-sum'])).structured.output, 'The sum of 20 and 22 is 42.\n');
                const shell = 'for n in 1 2 3; do python3 -m berth_tools everything__get-sum "{\\"a\\": $n, \\"b\\": 0}"; done | tail -1';
                assert.equal((await run(shell, ['everything__get-sum'])).structured.output, 'The sum of 3 and 0 is 3.\n');
            });
            await t.test('threads side by side, definitions, structured results', async () => {
                const { structured, text } = await python([
                    'import berth_tools', 'from concurrent.futures import ThreadPoolExecutor',
                    'with ThreadPoolExecutor(16) as pool:',
                    '    print(len(set(pool.map(lambda n: berth_tools.call("everything__echo", message=str(n)), range(40)))))',
                    'print([tool["name"] for tool in berth_tools.tools()])',
                    'print(sorted(berth_tools.call("everything__get-structured-content", location="New York")))',
                ].join('\n'), ['everything__echo', 'everything__get-structured-content']);
                assert.equal(structured.output, '40\n[\'everything__echo\', \'everything__get-structured-content\']\n' +
                    '[\'conditions\', \'humidity\', \'temperature\']\n', text);
            });
            await t.test('each stands in the audit trail of the workspace, and of the server', async () => {
                const mine = await until('the lines are written', () => {
                    const found = rows('tool call by a command').filter(({ tool }) => tool === 'everything__get-sum');
                    return found.length >= 100 && found;
                });
                assert.match(mine[0].command, /^p-/);
                assert.ok(mine[0].who.length > 0 && mine[0].ms >= 0 && /^[0-9a-f]{64}$/.test(mine[0].arguments_sha256));
                assert.ok(rows('tool call').filter(({ tool }) => tool === 'get-sum').length >= 100);
            });
        });
    }

    test('only what was named, and only what its caller may use', async (t) => {
        const attempt = (call) => `import berth_tools\ntry:\n    print("answered", ${call})\nexcept berth_tools.ToolError as e:\n    print("refused:", e)\n`;
        await t.test('a command without tools has none', async () => {
            const { structured } = await python(attempt('berth_tools.call("good__echo", text="x")'));
            assert.match(structured.output, /No module named|was given no tools/);
            const found = await run('PYTHONPATH=/run/berth/tools BERTH_TOOLS_FD=3 python3 -', undefined, { stdin: attempt('berth_tools.call("good__echo", text="x")') });
            assert.match(found.structured.output, /was given no tools/);
        });
        await t.test('one that is not on the list', async () => {
            const { structured } = await python(attempt('berth_tools.call("leaky__say")'), ['good__echo']);
            assert.match(structured.output, /^refused: leaky__say is not among the tools/);
            assert.ok((await until('it is recorded', () => rows('tool call by a command').find(({ tool }) => tool === 'leaky__say'))).refused);
        });
        await t.test('one that there is not, or that reaches beyond the workspace: the command does not start', async () => {
            for (const tool of ['good__none', 'workspace_create', 'workspace_delete', 'run_command', 'call_tool', 'server_approve']) {
                const { failed, text } = await run('touch /tmp/started', ['good__echo', tool]);
                assert.ok(failed && /that you may use|cannot be called by a command/.test(text), `${tool}: ${text}`);
            }
            assert.equal((await run('ls /tmp/started')).structured.exit_code, 2);
        });
        await t.test('in the background: refused', async () => {
            const { failed, text } = await run('true', ['good__echo'], { background: true });
            assert.ok(failed && /tools end with this call/.test(text), text);
        });
        await t.test('a client without the servers\' tools cannot give them; one that finds them by search can', async () => {
            for (const [sets, works] of [['core', false], ['core,search', true]]) {
                const it = Object.create(berth(), { url: { value: `${berth().url}?toolsets=${sets}` }, token: { value: berth().token } });
                const other = await v2(it, 'http', { pin: '2026-07-28' });
                const { failed, text } = await other.call('run_command', { workspace_id: workspace, command: 'true', tools: ['good__echo'] });
                assert.equal(!failed, works, text);
                await other.close();
            }
        });
        await t.test('berth\'s own, for its own workspace', async () => {
            const other = (await client.call('workspace_create', { files: { 'theirs.txt': 'not for you' } })).structured.workspace_id;
            const read = (id) => attempt(`berth_tools.call("read_file", path="theirs.txt", workspace_id="${id}")`);
            assert.match((await python(read(other), ['read_file'])).structured.output, /^refused: read_file works on this workspace alone/);
            const own = await python(attempt('berth_tools.call("read_file", path="sum.mjs")["content"]'), ['read_file']);
            assert.match(own.structured.output, /^answered .*everything__get-sum/s);
        });
        await t.test('limits and redaction of the server hold', async () => {
            const many = 'import berth_tools\nfor n in range(5):\n    try:\n        print(berth_tools.call("few__hold", ms=1))\n    except berth_tools.ToolError as e:\n        print(e)\n';
            assert.equal((await python(many, ['few__hold'])).structured.output.match(/3 calls a minute \(callsPerMinute\)/g).length, 2);
            const said = await python(attempt('berth_tools.result("leaky__say")'), ['leaky__say']);
            assert.match(said.structured.output, /^answered/);
            assert.ok(!said.structured.output.includes(secret));
        });
        await t.test('nobody is asked anything', async () => {
            const asked = [];
            const answer = (params) => { asked.push(params); return { action: 'accept', content: {} }; };
            for (const era of ['modern', 'legacy']) {
                const asking = await askable(berth(), 'http', era, { 'elicitation/create': answer, 'sampling/createMessage': answer });
                const { text } = await asking.call('run_command', { workspace_id: workspace, command: 'python3 -',
                    stdin: attempt('berth_tools.call("leaky__ask")'), tools: ['leaky__ask'] });
                assert.match(text, /refused|not answered|elicitation/i);
                await asking.close();
            }
            assert.deepEqual(asked, []);
        });
    });

    test('the way to the tools is one command\'s, and ends with it', { timeout: 120_000 }, async (t) => {
        await ready();
        await t.test('another command of the workspace cannot use it', async () => {
            const first = run('echo $$ > /tmp/first; exec sleep 5', ['good__echo']);
            const pid = await until('the first runs', async () => (await run('cat /tmp/first 2>/dev/null')).structured.output.trim());
            const thief = await run(`for n in $(ls /proc/${pid}/fd); do [ -S /proc/${pid}/fd/$n ] && echo socket $n && (echo '{}' > /proc/${pid}/fd/$n); done; ls /run/berth`);
            assert.match(thief.structured.output, /socket 3\n.*No such device or address/s);
            assert.ok(!/\.sock/.test(thief.structured.output));
            const named = await run(`BERTH_TOOLS_FD=3 PYTHONPATH=/run/berth/tools python3 -m berth_tools good__echo '{"text": "stolen"}'`);
            assert.match(named.structured.output, /was given no tools/);
            assert.equal((await first).structured.tool_calls, 0);
        });
        await t.test('what a command leaves behind has no tools', async () => {
            const before = await calls('good');
            const left = await python([
                'import berth_tools, os, time', 'berth_tools.tools()', 'if os.fork() == 0:', '    os.setsid()', '    time.sleep(1)',
                '    berth_tools._line = None', '    try:', '        text = berth_tools.call("good__echo", text="late")',
                '    except berth_tools.ToolError as e:', '        text = str(e)', '    open("/tmp/late", "w").write(text)',
            ].join('\n'), ['good__echo']);
            assert.equal(left.structured.exit_code, 0, left.text);
            assert.match(await until('it has tried', async () => (await run('cat /tmp/late 2>/dev/null')).structured.output), /the tools of this command have ended/);
            assert.equal(await calls('good'), before);
        });
        await t.test('a command that outlives the call goes on without them', async () => {
            const slow = await python('import berth_tools, time\nprint(berth_tools.call("good__echo", text="early"), flush=True)\ntime.sleep(3)\n' +
                'try:\n    berth_tools.call("good__echo", text="late")\nexcept berth_tools.ToolError as e:\n    print(e)\n', ['good__echo'], { timeout_ms: 1500 });
            assert.equal(slow.structured.state, 'running');
            assert.match(slow.text, /\[1 tool call; it goes on without its tools\]/);
            const { process_id } = slow.structured;
            const rest = await until('it has ended', async () => {
                const now = (await client.call('read_process_output', { process_id, wait_ms: 5000 })).structured;
                return now.state === 'exited' && now;
            });
            assert.match(rest.output, /early\nthe tools of this command have ended/);
        });
        await t.test('a client that goes away takes the calls under way along', async () => {
            const gone = new AbortController();
            const wire = new HttpClient(berth());
            const waiting = wire.call('run_command', { workspace_id: workspace, command: `python3 -m berth_tools leaky__hold '{"ms": 60000}'`, tools: ['leaky__hold'] }, gone.signal)
                .catch(() => 'gone');
            const inFlight = async () => (await berth().tool('server_status', { server: 'leaky' })).in_flight;
            await until('the server is called', async () => await inFlight() === 1);
            gone.abort();
            assert.equal(await waiting, 'gone');
            await until('the server is free', async () => await inFlight() === 0);
            wire.close();
        });
        await t.test('a command that goes on after a snapshot or a fork hears why its tools ended', async () => {
            const script = (name) => `import berth_tools, os, time\nberth_tools.tools()\nopen("/tmp/${name}", "w").close()\n` +
                `while not os.path.exists("/tmp/${name}-over"): time.sleep(0.1)\nprint("to its end")\n`;
            for (const tool of ['workspace_snapshot', 'workspace_fork']) {
                const going = python(script(tool), ['good__echo']);
                await until('it runs', async () => (await run(`ls /tmp/${tool}`)).structured.exit_code === 0);
                const made = await berth().tool(tool, { workspace_id: workspace });
                await run(`touch /tmp/${tool}-over`);
                const { text } = await going;
                assert.match(text, /^to its end\n\[0 tool calls; its tools ended early: the workspace was put to sleep or copied\]/);
                for (const { workspace_id } of made.workspaces ?? []) await berth().tool('workspace_delete', { workspace_id });
            }
        });
        await t.test('a workspace that hibernates brings nothing of it back', async () => {
            const script = 'import berth_tools, time\nberth_tools.tools()\nopen("/tmp/begun", "w").close()\nwhile True:\n    time.sleep(0.2)\n' +
                '    try:\n        berth_tools.call("good__echo", text="x")\n    except berth_tools.ToolError as e:\n        open("/tmp/ended", "w").write(str(e))\n        break\ntime.sleep(600)\n';
            const sleeping = python(script, ['good__echo']);
            await until('it calls', async () => (await run('ls /tmp/begun')).structured.exit_code === 0);
            await berth().tool('workspace_hibernate', { workspace_id: workspace });
            const cut = await sleeping;
            assert.ok(cut.failed, cut.text);
            const before = await calls('good');
            assert.match(await until('it has noticed', async () => (await run('cat /tmp/ended')).structured.output), /the tools of this command have ended/);
            await pause(500);
            assert.equal(await calls('good'), before);
            const listed = await run('pgrep -f "^python3 -$" | wc -l');
            assert.equal(listed.structured.output.trim(), '1', 'the command itself came back');
        });
    });

    test('a command that floods its tools is cut off, and others are served', { timeout: 120_000 }, async () => {
        await ready();
        const raw = 'import os, socket\nline = socket.socket(fileno=int(os.environ["BERTH_TOOLS_FD"]))\n';
        const flood = `${raw}import threading
threading.Thread(target=lambda: list(iter(lambda: len(line.recv(65536)), 0)), daemon=True).start()
try:
    while True: line.sendall(b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}\n' * 100)
except OSError:
    pass
`.replaceAll('}\n\'', '}\\n\'');
        const wire = new HttpClient(berth());
        const beside = python(flood, ['good__echo'], { timeout_ms: 60_000 });
        for (let n = 0; n < 50; n++) assert.equal((await wire.call('good__echo', { text: `${n}` })).text, `${n}`);
        assert.match((await beside).text, /its tools ended early: it made more than 10000 requests/);
        for (const [bytes, why] of [['b"x" * (1 << 21)', /a request was longer than 1048576 bytes/], ['b"not JSON\\n"', /what it wrote to its tools was no request/]]) {
            const { text } = await python(`${raw}try:\n    line.sendall(${bytes})\n    print(line.recv(10))\nexcept OSError:\n    pass\n`, ['good__echo']);
            assert.match(text, why);
        }
        const silent = await python(`${raw}import time\ntry:\n    for n in range(20000): line.sendall(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"leaky__large","arguments":{"bytes":100000}}}\\n')\n` +
            'except OSError:\n    pass\n', ['leaky__large'], { timeout_ms: 3000 });
        assert.equal(silent.structured.state, 'running', 'it waits for room, as whoever does not read must');
        assert.ok(silent.structured.tool_calls < 20, silent.text);
        wire.close();
        await client.close();
    });
}, '', servers);
