// The program around the tools: who may call, what a restart keeps, and its own command line.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Berth, binary } from './lib/berth.mjs';
import { v2 } from './lib/clients.mjs';
import { groups, loops, mounts, processes, slots } from './lib/remains.mjs';
import { suite } from './lib/suite.mjs';
import { HttpClient } from './lib/wire.mjs';

const run = promisify(execFile);

// fetch would not let a test choose Host and Origin.
function post(port, headers) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
    return new Promise((done, failed) => {
        const asked = request({ host: '127.0.0.1', port, path: '/mcp', method: 'POST', headers: {
            'Content-Type': 'application/json', Accept: 'application/json, text/event-stream', ...headers,
        } }, (answer) => { answer.resume(); answer.once('end', () => done(answer.statusCode)); });
        asked.once('error', failed);
        asked.end(body);
    });
}

suite((berth) => {
    test('who may call', async (t) => {
        await t.test('nobody without the token', async () => {
            assert.equal(await post(berth().port, {}), 401);
            assert.equal(await post(berth().port, { Authorization: 'Bearer wrong' }), 401);
        });
        await t.test('no page of another origin, even with the token', async () => {
            const Authorization = `Bearer ${berth().token}`;
            assert.equal(await post(berth().port, { Authorization, Origin: 'https://evil.example' }), 403);
        });
        await t.test('no request for another host name (DNS rebinding)', async () => {
            const Authorization = `Bearer ${berth().token}`;
            const status = await post(berth().port, { Authorization, Host: 'evil.example' });
            assert.ok(status === 403 || status === 421, `status ${status}`);
        });
        await t.test('the token is for its owner only', () => {
            assert.equal(statSync(join(berth().data, 'token')).mode & 0o777, 0o600);
        });
    });

    test('a server that is killed and started again', { timeout: 120_000 }, async (t) => {
        const connect = () => v2(berth(), 'http', { pin: '2026-07-28' });
        let client = await connect();
        const good = async (name, args) => {
            const answer = await client.call(name, args);
            assert.ok(!answer.failed, `${name} failed: ${answer.text}`);
            return answer.structured;
        };
        const { workspace_id } = await good('workspace_create',
            { name: 'survivor', files: { 'kept.txt': 'kept\n' } });
        const { process_id } = await good('run_command',
            { workspace_id, command: 'sleep 5; echo still here; sleep 600', background: true });
        await client.close();
        await berth().crash();
        await berth().serve();
        client = await connect();
        await t.test('still has the workspace and its files', async () => {
            assert.equal((await good('run_command', { workspace_id, command: 'cat kept.txt' })).output, 'kept\n');
        });
        await t.test('still has what ran in it, and its output', async () => {
            let output = '';
            for (let reads = 0; reads < 30 && !output.includes('still here'); reads++) {
                output = (await good('read_process_output', { process_id, wait_ms: 1000 })).output;
            }
            assert.match(output, /still here/);
        });
        await t.test('starts new ones', async () => {
            const fresh = await good('workspace_create', {});
            const ended = await good('run_command', { workspace_id: fresh.workspace_id, command: 'echo up' });
            assert.equal(ended.output, 'up\n');
        });
        await client.close();
    });

    test('workspace_create asked again', { timeout: 120_000 }, async (t) => {
        const client = new HttpClient(berth());
        const create = (args) => client.call('workspace_create', args);
        const args = { name: 'again', idempotency_key: 'first', files: { 'a.txt': 'a' }, env: { A: '1' }, limits: { memory: '512MiB' } };
        const made = await create(args);
        assert.equal(made.structured.existed, false, made.text);
        await t.test('with its key and its arguments: nothing was dropped, and nothing is said to be', async () => {
            const repeat = await create(args);
            assert.equal(repeat.structured.existed, true, repeat.text);
            assert.equal(repeat.structured.workspace_id, made.structured.workspace_id);
            assert.equal(repeat.structured.note, undefined);
            assert.doesNotMatch(repeat.text, /not applied/);
        });
        await t.test('with its key and other arguments: refused', async () => {
            const other = await create({ ...args, env: { A: '2' } });
            assert.ok(other.failed);
            assert.match(other.text, /idempotency_key: it was used with other arguments for ws-/);
        });
        await t.test('with its name: what was not applied is named', async () => {
            for (const more of [{}, { idempotency_key: 'second' }]) {
                const named = await create({ name: 'again', env: { A: '2' }, ...more });
                assert.equal(named.structured.workspace_id, made.structured.workspace_id);
                assert.match(named.structured.note, /env of this call were not applied/);
            }
        });
        await client.call('workspace_delete', { workspace_id: made.structured.workspace_id });
        client.close();
    });

    test('a call that takes long', { timeout: 120_000 }, async (t) => {
        const clone = (seconds) => ({ git_url: `ext::sleep ${seconds}`, env: { GIT_ALLOW_PROTOCOL: 'ext' } });
        await t.test('tells a client that asks how long it has taken, and of what', async () => {
            const client = await v2(berth(), 'http', { pin: '2026-07-28' });
            const heard = [];
            const failed = await client.call('workspace_create', clone(8), { onprogress: (one) => heard.push(one) });
            assert.match(failed.text, /git clone ended with/);
            assert.ok(heard.length >= 2, JSON.stringify(heard));
            assert.match(heard[0].message, /^\d s: making the workspace/);
            assert.ok(heard[1].progress > heard[0].progress, JSON.stringify(heard));
            await client.close();
        });
        await t.test('becomes a task where the client offers that, and ends with it', async () => {
            const client = new HttpClient(berth());
            const extensions = { 'io.modelcontextprotocol/tasks': {} };
            let id = 0;
            const ask = async (method, params, name) => {
                const _meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28',
                    'io.modelcontextprotocol/clientCapabilities': { extensions } };
                const { messages } = await client.post(JSON.stringify({ jsonrpc: '2.0', id: ++id, method, params: { ...params, _meta } }),
                    { 'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': method, 'Mcp-Name': name });
                return messages.find((message) => message.id === id).result;
            };
            const create = (args) => ask('tools/call', { name: 'workspace_create', arguments: args }, 'workspace_create');
            const named = async () => (await client.call('workspace_list', {})).structured.workspaces.filter((w) => w.name === 'task');
            const quick = await create({});
            assert.match(quick.structuredContent.workspace_id, /^ws-/);
            const slow = await create({ ...clone(8000), name: 'task' });
            assert.equal(slow.resultType, 'task', JSON.stringify(slow));
            assert.equal((await ask('tasks/get', { taskId: slow.taskId }, slow.taskId)).status, 'working');
            assert.equal((await named()).length, 1);
            await ask('tasks/cancel', { taskId: slow.taskId }, slow.taskId);
            for (const end = Date.now() + 60_000; (await named()).length > 0;) assert.ok(Date.now() < end, 'it is still there');
            await client.call('workspace_delete', { workspace_id: quick.structuredContent.workspace_id });
            client.close();
        });
    });

    test('the list of the core tools is short', async () => {
        const _meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} };
        const answer = await fetch(`${berth().url}?toolsets=core`, { method: 'POST', headers: {
            Authorization: `Bearer ${berth().token}`, 'Content-Type': 'application/json', 'MCP-Protocol-Version': '2026-07-28',
            Accept: 'application/json, text/event-stream', 'Mcp-Method': 'tools/list',
        }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta } }) });
        const { result: { tools } } = await answer.json();
        assert.ok(tools.length >= 12, JSON.stringify(tools));
        // Models read it with every task. Four characters of it are about a token.
        const tokens = JSON.stringify(tools).length / 4;
        assert.ok(tokens < 4_000, `about ${tokens} tokens`);
    });

    test('the size of a terminal', { timeout: 120_000 }, async () => {
        const client = new HttpClient(berth());
        const good = async (name, args) => {
            const answer = await client.call(name, args);
            assert.ok(!answer.failed, `${name}: ${answer.text}`);
            return answer.structured;
        };
        const { workspace_id } = await good('workspace_create', {});
        const run = (args) => good('run_command', { workspace_id, command: 'stty size', pty: true, ...args });
        assert.match((await run({})).output, /^40 120\s/);
        assert.match((await run({ size: '100x30' })).output, /^30 100\s/);
        const shell = await run({ command: 'while read line; do stty size; done', background: true, size: '80x24' });
        const type = async (args) => {
            await good('send_process_input', { process_id: shell.process_id, wait_ms: 0, ...args });
        };
        let heard = '';
        const hears = async (pattern) => {
            for (const end = Date.now() + 60_000; !pattern.test(heard);) {
                assert.ok(Date.now() < end, heard);
                heard = (await good('read_process_output', { process_id: shell.process_id, cursor: 0, wait_ms: 100 })).output;
            }
        };
        await type({ input: '\n' });
        await hears(/24 80/);
        await type({ input: '\n', size: '132x50' });
        await hears(/50 132/);
        await type({ input: '', size: '90x20' });
        await type({ input: '\n' });
        await hears(/20 90/);
        for (const size of ['', 'x', '80', '80x', 'x24', '0x24', '80x0', '-1x24', '80x24x2', '80 x 24', '1001x24', '99999999999x1']) {
            for (const [tool, args] of [['run_command', { workspace_id, command: 'true', pty: true }],
                ['send_process_input', { process_id: shell.process_id, input: '' }]]) {
                const refused = await client.call(tool, { ...args, size });
                assert.ok(refused.failed, `${tool} ${size}: ${refused.text}`);
                assert.match(refused.text, /^size: expected columns x rows/);
            }
        }
        const plain = await client.call('run_command', { workspace_id, command: 'true', size: '80x24' });
        assert.match(plain.text, /^size: is of a terminal; pass pty: true/);
        const { process_id } = await good('run_command', { workspace_id, command: 'sleep 60', background: true });
        assert.match((await client.call('send_process_input', { process_id, input: '', size: '80x24' })).text, /no terminal/);
        await good('workspace_delete', { workspace_id });
        client.close();
    });

    test('stdio ends with its input', { timeout: 100_000 }, async (t) => {
        const asks = [
            { jsonrpc: '2.0', id: 1, method: 'initialize', params: {
                protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'e2e', version: '1' },
            } },
            { jsonrpc: '2.0', method: 'notifications/initialized' },
            // Starts programs: what a child of the server inherits of the connection must not matter.
            { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'workspace_create', arguments: {} } },
        ].map((ask) => `${JSON.stringify(ask)}\n`).join('');
        // Pipes can be polled and regular files cannot: both must do.
        for (const kind of ['a pipe', 'a file']) {
            await t.test(`when its output is ${kind}`, async () => {
                const path = join(berth().directory, 'answers');
                const file = openSync(path, 'w');
                const [command, ...args] = berth().stdio;
                const child = spawn(command, args, { stdio: ['pipe', kind === 'a file' ? file : 'pipe', 'ignore'] });
                let piped = '';
                child.stdout?.on('data', (text) => { piped += text; });
                const answers = () =>
                    (kind === 'a file' ? readFileSync(path, 'utf8') : piped).split('\n').slice(0, -1)
                        .map((line) => JSON.parse(line)).filter((message) => 'id' in message);
                const ended = new Promise((done) => child.once('close', (code, signal) => done(code ?? signal)));
                child.stdin.write(asks);
                while (answers().length < 2 && child.exitCode === null) await new Promise((done) => setTimeout(done, 50));
                child.stdin.end();
                assert.equal(await ended, 0);
                closeSync(file);
                assert.deepEqual(answers().map((answer) => answer.id), [1, 2]);
                assert.ok(answers()[1].result.structuredContent.workspace_id);
            });
        }
    });

    test('a server with a broken servers.json, stopped by a signal', { timeout: 180_000 }, async (t) => {
        const own = await Berth.start('', '{ "mcpServers": ');
        t.after(() => own.stop());
        await t.test('says what is wrong with the file', async () => {
            assert.match((await own.tool('servers_list')).problem, /servers\.json:\d+: /);
            await assert.rejects(own.tool('server_status', { server: 'any' }), /servers\.json:\d+: /);
        });
        const { workspace_id } = await own.tool('workspace_create', { files: { 'kept.txt': 'kept\n' } });
        await own.tool('run_command', { workspace_id, command: 'sleep 600', background: true });
        own.process.kill('SIGTERM');
        await own.ended;
        await t.test('leaves its sandboxes for the next one', () => {
            assert.notDeepEqual(processes(own.data), []);
            assert.ok(slots(own.data).length > 0);
        });
        await t.test('or for berth down, which ends them all without a server', async () => {
            assert.match((await run(binary, ['down', '--data', own.data])).stdout, /no server ran/);
            for (const look of [processes, mounts, loops, groups, slots]) assert.deepEqual(look(own.data), [], look.name);
        });
        await t.test('and keeps files', async () => {
            own.configure({});
            await own.serve();
            assert.equal((await own.tool('run_command', { workspace_id, command: 'cat kept.txt' })).output, 'kept\n');
        });
    });

    test('what operators ask', async (t) => {
        await t.test('health, readiness and metrics', async () => {
            for (const path of ['healthz', 'readyz']) {
                assert.equal((await fetch(`http://127.0.0.1:${berth().port}/${path}`)).status, 200, path);
            }
            const headers = { Authorization: `Bearer ${berth().token}` };
            const metrics = await fetch(`http://127.0.0.1:${berth().port}/metrics`, { headers });
            assert.equal(metrics.status, 200);
            const text = await metrics.text();
            for (const name of ['berth_workspaces', 'berth_boots_total', 'berth_boots_failed_total']) {
                assert.match(text, new RegExp(`^${name} \\d+$`, 'm'));
            }
        });
        await t.test('an end, over the private socket alone: a token does not stop the server', async () => {
            const headers = { Authorization: `Bearer ${berth().token}` };
            const answer = await fetch(`http://127.0.0.1:${berth().port}/shutdown?all`, { method: 'POST', headers });
            assert.equal(answer.status, 404);
            assert.equal((await fetch(`http://127.0.0.1:${berth().port}/readyz`)).status, 200);
        });
        await t.test('its version and its help', async () => {
            assert.match((await run(binary, ['--version'])).stdout, /\d+\.\d+/);
            assert.match((await run(binary, ['--help'])).stdout, /serve/);
            for (const option of ['--data', '--listen', '--config', '--servers']) {
                assert.match((await run(binary, ['serve', '--help'])).stdout, new RegExp(`^ +${option} `, 'm'));
            }
            const commands = (await run(binary, ['--help'])).stdout.matchAll(/^ {2}berth (\w+) /gm);
            for (const [, command] of commands) {
                assert.match((await run(binary, [command, '--help'])).stdout, new RegExp(`^berth ${command}`));
            }
            await assert.rejects(run(binary, ['down', '--listen', '127.0.0.1:1']), /berth down takes no --listen/);
        });
        await t.test('a configuration to begin with, which changes nothing', async () => {
            const file = join(berth().directory, 'example.yaml');
            writeFileSync(file, (await run(binary, ['config'])).stdout);
            const args = ['doctor', '--data', join(berth().directory, 'example'), '--config', file];
            const { stdout } = await run(binary, args).catch((error) => error);     // the machine may lack something else
            assert.match(stdout, new RegExp(`^ok +configuration +${file}$`, 'm'));
        });
        await t.test('which tools there are, and what one takes', async () => {
            const ask = async (...words) => (await run(binary, ['tool', ...words, '--data', berth().data])).stdout;
            const list = await ask();
            for (const name of ['workspace_create', 'move_file', 'workspace_fork', 'preview_list', 'servers_list', 'search_tools']) {
                assert.match(list, new RegExp(`^${name} +[A-Z]`, 'm'));
            }
            const described = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8').matchAll(/^\| (`.+?`) \| `\w+` \|/gm);
            const inReadme = [...described].flatMap(([, names]) => names.match(/\w+/g)).filter((name) => name !== 'server__tool');
            assert.deepEqual(inReadme.sort(), list.match(/^\w+/gm).sort(), 'the table of tools in README.md');
            const help = await ask('workspace_create', '--help');
            assert.match(help, /^ {2}network\.allow +list of strings/m);
            assert.match(help, /^ {2}limits\.cpus +number from 0\.1 to 8/m);
            assert.match(await ask('read_file', '--help'), /^ {2}path +string, required/m);
            await assert.rejects(ask('bogus', '--help'), /there is no tool bogus: berth tool lists/);
        });
        await t.test('toolsets that do not exist, and hear which do', async () => {
            const answer = await fetch(`${berth().url}?toolsets=core,bogus`, { method: 'POST', headers: {
                Authorization: `Bearer ${berth().token}`, 'Content-Type': 'application/json',
                Accept: 'application/json, text/event-stream',
            }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }) });
            assert.equal(answer.status, 400);
            assert.match((await answer.json()).error.message, /no toolset "bogus"; there are core, files, .*community/);
        });
        await t.test('for an address to listen on, and hear how one is written', async () => {
            for (const listen of ['::1:7777', '127.0.0.1:77x', 'tools.example.com:80']) {
                const args = ['serve', '--data', join(berth().directory, 'wrong'), '--listen', listen];
                await assert.rejects(run(binary, args), ({ stderr }) => /--listen: expected .*\[::1\]:7777|expected a port/.test(stderr));
            }
        });
        await t.test('nothing of a template that is not there, which stops the start', async () => {
            const config = join(berth().directory, 'wrong.yaml');
            writeFileSync(config, '\ndefault_template: bogus\n');
            const args = ['serve', '--data', join(berth().directory, 'wrong'), '--listen', '127.0.0.1:0', '--config', config];
            await assert.rejects(run(binary, args), ({ stderr }) => /wrong\.yaml:2: default_template: .*bogus.*base/.test(stderr));
        });
        await t.test('for ready entries of community servers', async () => {
            const data = join(berth().directory, 'ready');
            mkdirSync(data);
            const servers = (...words) => run(binary, ['servers', ...words, '--data', data]);
            const { stdout: listed } = await servers('catalogue');
            assert.match(listed, /^memory +(un)?tested +\S/m);
            assert.match((await servers('add', 'memory')).stdout, /^memory: added to .*servers\.json$/m);
            const { mcpServers } = JSON.parse(readFileSync(join(data, 'servers.json'), 'utf8'));
            assert.deepEqual(Object.keys(mcpServers), ['memory']);
            assert.match((await servers('check')).stdout, /^memory: good, in a sandbox/m);
            assert.equal(statSync(join(data, 'servers.json')).mode & 0o777, 0o600);
            for (const name of ['bogus', '../memory', '.hidden']) {
                await assert.rejects(servers('add', name), ({ stderr }) => /no entry of the catalogue is named/.test(stderr), name);
            }
            assert.match((await servers('add', 'memory').catch((error) => error)).stdout, /^memory: already there, left as it is$/m);
        });
        await t.test('for no less than a workspace can live on, and hear how much that is', async () => {
            for (const [limits, said] of [
                [{ pids: 63 }, /limits\.pids: expected an integer from 64 to 4096/],
                [{ cpus: 0.09 }, /limits\.cpus: expected a number from 0\.1 to 8/],
                [{ memory: '63MiB' }, /limits\.memory: expected 64MiB to 8GiB/],
                [{ disk: '31MiB' }, /limits\.disk: expected 32MiB to 100GiB/],
            ]) await assert.rejects(berth().tool('workspace_create', { limits }), said);
        });
        await t.test('a tool, from the command line', async () => {
            const tool = async (name, args) =>
                (await run(binary, ['tool', name, JSON.stringify(args), '--data', berth().data])).stdout;
            const created = await tool('workspace_create', { name: 'by-hand' });
            assert.match(created, /w[-_a-z0-9]+/);
            assert.match(await tool('workspace_list', {}), /by-hand/);
        });
    });
});
