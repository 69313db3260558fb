// What a client gets besides tools: workspaces, files and output as resources, notices of change, prompts, completion,
// and progress while a command runs. Both eras, both transports, through the official clients.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { v1, v2 } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';

const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const server = [
    'import http.server, sys',
    'server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)',
    'print("listening", flush=True)',
    'server.serve_forever()',
    ''].join('\n');

/** Keeps what arrives, and waits for what is still to come. */
class Mailbox {
    seen = [];
    #waiting = [];

    put(message) {
        this.seen.push(message);
        for (const look of this.#waiting) look();
    }

    async wait(what, wanted, since = 0) {
        const there = () => this.seen.slice(since).find(wanted);
        if (there()) return there();
        return new Promise((resolve, reject) => {
            const limit = setTimeout(() => {
                reject(new Error(`never heard of ${what}, only: ${JSON.stringify(this.seen.slice(since))}`));
            }, 60_000);
            this.#waiting.push(() => {
                if (!there()) return;
                clearTimeout(limit);
                resolve(there());
            });
        });
    }
}

function offers(title, berth, connect) {
    test(title, { timeout: 280_000 }, async (t) => {
        const client = await connect(berth());
        const { sdk } = client;
        const modern = client.era === 'modern';
        let id;
        const good = async (name, args, options) => {
            const answer = await client.call(name, args, options);
            assert.ok(!answer.failed, `${name} failed: ${answer.text}`);
            return answer.structured;
        };
        const here = (name, args, options) => good(name, { workspace_id: id, ...args }, options);
        const uri = (path) => `berth://workspaces/${id}/files/${path}`;
        const read = async (name) => {
            const { contents } = await sdk.readResource({ uri: name });
            assert.equal(contents.length, 1);
            assert.equal(contents[0].uri, name);
            return contents[0];
        };
        const absent = (name) => assert.rejects(sdk.readResource({ uri: name }), (error) => {
            assert.equal(error.code, modern ? -32602 : -32002, `${name}: ${error}`);
            assert.match(error.message, /not found/i, name);
            return true;
        });
        const refused = (name, why) => assert.rejects(sdk.readResource({ uri: name }), (error) => {
            assert.equal(error.code, -32602, `${name}: ${error}`);
            assert.match(error.message, why, name);
            return true;
        });

        try {
            await t.test('lists workspaces and says what else can be read', async () => {
                ({ workspace_id: id } = await good('workspace_create', {
                    files: { 'src/main.py': 'print("ф")\n', 'odd name #1?.csv': 'a,b\n', 'server.py': server },
                }));
                const { resources } = await sdk.listResources();
                const mine = resources.find((one) => one.uri === `berth://workspaces/${id}`);
                assert.ok(mine, JSON.stringify(resources));
                assert.equal(mine.mimeType, 'application/json');
                const { resourceTemplates } = await sdk.listResourceTemplates();
                assert.deepEqual(resourceTemplates.map((one) => one.uriTemplate), [
                    'berth://workspaces/{id}', 'berth://workspaces/{id}/files/{+path}',
                    'berth://workspaces/{id}/processes/{process_id}',
                ]);
                await assert.rejects(sdk.listResources({ cursor: 'made up' }), (error) => error.code === -32602);
            });

            await t.test('reads a workspace as workspace_get shows it', async () => {
                const shown = JSON.parse((await read(`berth://workspaces/${id}`)).text);
                const got = await here('workspace_get', {});
                assert.deepEqual(Object.keys(shown).sort(), Object.keys(got).sort());
                for (const key of ['workspace_id', 'template', 'memory_mb', 'cpus', 'created_ms']) {
                    assert.deepEqual(shown[key], got[key], key);
                }
            });

            await t.test('reads text, pictures and directories', async () => {
                await here('run_command', {
                    command: `echo ${png} | base64 -d > pixel.png; echo mine > ~/note.md; printf 'a\\0b' > raw.bin; ` +
                        'ln -s /etc/passwd leak; ln -s .. up; head -c 5000000 /dev/zero > big.bin; mkfifo pipe',
                });
                assert.deepEqual(await read(uri('src/main.py')),
                    { uri: uri('src/main.py'), mimeType: 'text/x-python', text: 'print("ф")\n' });
                const odd = await read(uri('odd%20name%20%231%3F.csv'));
                assert.equal(odd.text, 'a,b\n');
                assert.equal(odd.mimeType, 'text/csv');
                assert.equal((await read(uri('~/note.md'))).text, 'mine\n');
                assert.equal((await read(uri('/workspace/src/main.py'))).mimeType, 'text/x-python');
                assert.deepEqual(await read(uri('pixel.png')),
                    { uri: uri('pixel.png'), mimeType: 'image/png', blob: png });
                const raw = await read(uri('raw.bin'));
                assert.equal(raw.mimeType, 'application/octet-stream');
                assert.equal(Buffer.from(raw.blob, 'base64').toString(), 'a\0b');
                const listed = JSON.parse((await read(uri(''))).text);
                assert.equal(listed.truncated, false);
                const entry = (name) => listed.entries.find((one) => one.name === name);
                assert.equal(entry('src').kind, 'directory');
                assert.equal(entry('leak').kind, 'link');
                assert.equal((await read(entry('odd name #1?.csv').uri)).text, 'a,b\n');
                assert.deepEqual(JSON.parse((await read(entry('src').uri)).text).entries.map((one) => one.name),
                    ['main.py']);
            });

            await t.test('reads nothing else', async () => {
                for (const name of ['none.txt', 'src/none', 'raw.bin/x', 'leak', 'up', 'up/etc/passwd', 'pipe',
                    '/etc/passwd', '/root']) {
                    await absent(uri(name));
                }
                for (const name of [`berth://workspaces/ws-none`, 'berth://workspaces/ws-none/files/a',
                    `berth://workspaces/${id}/processes/p-none`, `berth://workspaces/${id}/secrets`,
                    'file:///etc/passwd']) {
                    await absent(name);
                }
                for (const name of ['..%2F..%2Fetc/passwd', '%2e%2e/x', 'src/../../x', 'a%00b', 'a%', 'a//b']) {
                    await refused(uri(name), /ill-formed/);
                }
                await refused(uri('big.bin'), /larger than 4 MiB/);
            });

            await t.test('has one name for a workspace, its id', async () => {
                const { workspace_id } = await good('workspace_create', { name: 'named' });
                await absent('berth://workspaces/named');
                const { resources } = await sdk.listResources();
                assert.equal(resources[0].uri, `berth://workspaces/${workspace_id}`, 'the newest comes first');
                assert.equal(resources[0].name, 'named');
                await good('workspace_delete', { workspace_id });
            });

            await t.test('reads the output of commands', async () => {
                const ended = await here('run_command', { command: 'echo out; exit 3' });
                const output = await read(`berth://workspaces/${id}/processes/${ended.process_id}`);
                assert.equal(output.mimeType, 'text/plain');
                assert.match(output.text, /^out\n\[exit code 3\]$/);
            });

            await t.test('tells of changes that were asked for', async () => {
                const updated = new Mailbox(), lists = new Mailbox();
                client.on('notifications/resources/updated', ({ params }) => updated.put(params.uri));
                client.on('notifications/resources/list_changed', () => lists.put(true));
                const watched = [uri('src/main.py'), uri('src'), uri('~/note.md'), `berth://workspaces/${id}`];
                let listen;
                if (modern) {
                    listen = await sdk.listen({ resourcesListChanged: true, resourceSubscriptions: watched });
                    assert.deepEqual(listen.honoredFilter.resourceSubscriptions, watched);
                } else {
                    for (const one of watched) await sdk.subscribeResource({ uri: one });
                }
                await here('write_file', { path: 'unwatched.txt', content: 'x' });
                await here('write_file', { path: './src/main.py', content: 'print(1)\n' });
                await updated.wait('the file', (one) => one === uri('src/main.py'));
                await updated.wait('its directory', (one) => one === uri('src'));
                const before = updated.seen.length;
                await here('edit_file', {
                    path: '/workspace/src/main.py', edits: [{ old_string: '1', new_string: '2' }],
                });
                await updated.wait('the edit', (one) => one === uri('src/main.py'), before);
                await here('write_file', { path: '/home/agent/note.md', content: 'changed' });
                await updated.wait('the file in the home directory', (one) => one === uri('~/note.md'));
                assert.ok(updated.seen.every((one) => watched.includes(one)), `${updated.seen}`);

                const { workspace_id } = await good('workspace_create', {});
                await lists.wait('a new workspace', () => true);
                const heard = lists.seen.length;
                await good('workspace_delete', { workspace_id });
                await lists.wait('a deleted workspace', () => true, heard);
                await listen?.close();
            });

            await t.test('offers prompts that name its tools', async () => {
                const { prompts } = await sdk.listPrompts();
                assert.deepEqual(prompts.map((one) => one.name),
                    ['start_project', 'debug_program', 'run_server', 'explore_data']);
                const { tools } = await sdk.listTools();
                const names = new Set(tools.map((tool) => tool.name));
                for (const prompt of prompts) {
                    const given = Object.fromEntries(prompt.arguments.map(({ name }) => [name, `<${name}>`]));
                    if ('workspace' in given) given.workspace = id;
                    const { messages } = await sdk.getPrompt({ name: prompt.name, arguments: given });
                    const { text } = messages[0].content;
                    for (const [name, value] of Object.entries(given)) assert.ok(text.includes(value), `${name}: ${text}`);
                    assert.doesNotMatch(text, /\[\[|\]\]|\{\w+\}/, prompt.name);
                    const tool = /\b(?:workspace|run|read|send|stop|write|edit|search)_(?:\w+)\b/g;
                    const words = [...new Set(text.match(tool))].filter((word) => word !== 'workspace_id');
                    assert.ok(words.length >= 3, text);
                    for (const word of words) assert.ok(names.has(word), `${prompt.name} names ${word}`);
                }
                const bare = await sdk.getPrompt({ name: 'start_project', arguments: { task: 'Add {two} [[numbers]]' } });
                assert.match(bare.messages[0].content.text, /Add \{two\} \[\[numbers\]\]/);
                assert.doesNotMatch(bare.messages[0].content.text, /with name/);
                for (const [name, args] of [['start_project', {}], ['start_project', { task: '' }], ['none', {}],
                    ['run_server', { workspace: 'ws-none', command: 'x' }]]) {
                    await assert.rejects(sdk.getPrompt({ name, arguments: args }), (error) => error.code === -32602);
                }
            });

            await t.test('completes ids, paths and prompt arguments', async () => {
                const complete = async (ref, name, value, args) =>
                    (await sdk.complete({ ref, argument: { name, value }, ...(args && { context: { arguments: args } }) }))
                        .completion.values;
                const file = { type: 'ref/resource', uri: 'berth://workspaces/{id}/files/{+path}' };
                assert.deepEqual(await complete(file, 'id', id.slice(0, 8)), [id]);
                assert.deepEqual(await complete(file, 'id', 'none'), []);
                assert.deepEqual(await complete(file, 'path', 's', { id }), ['server.py', 'src/']);
                assert.deepEqual(await complete(file, 'path', 'src/', { id }), ['src/main.py']);
                assert.deepEqual(await complete(file, 'path', '~/no', { id }), ['~/note.md']);
                for (const value of ['../', '/etc/', 'up/', 'none/', 'src/../../']) {
                    assert.deepEqual(await complete(file, 'path', value, { id }), [], value);
                }
                assert.deepEqual(await complete(file, 'path', 's'), []);
                assert.deepEqual(await complete(file, 'path', 's', { id: 'ws-none' }), []);
                const server = { type: 'ref/prompt', name: 'run_server' };
                assert.ok((await complete(server, 'workspace', '')).includes(id));
                assert.ok((await complete({ type: 'ref/prompt', name: 'start_project' }, 'template', '')).includes('base'));
                assert.deepEqual(await complete({ type: 'ref/prompt', name: 'explore_data' }, 'path', 'raw',
                    { workspace: id }), ['raw.bin']);
                const { process_id } = await here('run_command', { command: 'true' });
                const output = { type: 'ref/resource', uri: 'berth://workspaces/{id}/processes/{process_id}' };
                assert.deepEqual(await complete(output, 'process_id', process_id, { id }), [process_id]);
                await assert.rejects(complete({ type: 'ref/prompt', name: 'none' }, 'x', ''),
                    (error) => error.code === -32602);
            });

            await t.test('tells how a command gets on, when asked to', async () => {
                // The command ends only after the client heard of it.
                const heard = new Mailbox();
                const running = here('run_command',
                    { command: 'echo working; until [ -e go ]; do sleep 0.1; done; echo done' },
                    { onprogress: (one) => heard.put(one) });
                await heard.wait('progress', (one) => /^\d+ s: working$/.test(one.message));
                await heard.wait('more progress', () => heard.seen.length >= 3);
                await here('write_file', { path: 'go', content: '' });
                assert.equal((await running).output, 'working\ndone\n');
                const steps = heard.seen.map((one) => one.progress);
                assert.deepEqual(steps, [...new Set(steps)].sort((a, b) => a - b), 'it only grows');

                await here('run_command', { command: 'rm go' });
                const { process_id } = await here('run_command',
                    { command: 'until [ -e go ]; do sleep 0.1; done; echo later', background: true });
                const waits = new Mailbox();
                const reading = good('read_process_output', { process_id, wait_ms: 50_000 },
                    { onprogress: (one) => waits.put(one) });
                await waits.wait('progress of a read', (one) => /^\d+ s$/.test(one.message));
                await here('write_file', { path: 'go', content: '' });
                assert.equal((await reading).output, 'later\n');
            });

            await t.test('names the ports on which a command began to listen', async () => {
                const other = await here('run_command', { command: 'python3 server.py 8001', background: true });
                let ports;
                for (let reads = 0; reads < 60 && !ports; reads++) {
                    ({ new_ports: ports } = await good('read_process_output',
                        { process_id: other.process_id, cursor: 10, wait_ms: 1000 }));
                }
                assert.deepEqual(ports, [8001]);
                let started;
                for (const [port, timeout_ms] of [[8002, 2000], [8003, 10_000], [8004, 40_000]]) {
                    started = await here('run_command', { command: `python3 server.py ${port}`, timeout_ms });
                    assert.equal(started.state, 'running');
                    if (started.new_ports) {
                        assert.deepEqual(started.new_ports, [port], 'its own, not those of others');
                        break;
                    }
                }
                assert.ok(started.new_ports, 'none was named');
            });
        } finally {
            if (id) await client.call('workspace_delete', { workspace_id: id }).catch(() => {});
            await client.close();
        }
    });
}

suite((berth) => {
    for (const transport of ['stdio', 'http']) {
        offers(`SDK v1 over ${transport}`, berth, (it) => v1(it, transport));
        offers(`SDK v2, 2026-07-28, over ${transport}`, berth, (it) => v2(it, transport, { pin: '2026-07-28' }));
    }
});
