// What a server could mix up or keep: answers of clients that chose the same ids, work that nobody waits for any more, and
// messages that are none. Through the real program, both transports and both eras. ROUNDS sets how many calls are taken back twice.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Berth, missing } from './lib/berth.mjs';
import { randomFrom } from './lib/ledger.mjs';
import { groups, loops, mounts, processes, slots, use, volumes } from './lib/remains.mjs';
import { HttpClient, StdioClient, callMessage } from './lib/wire.mjs';

const MiB = 1 << 20;
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
const random = randomFrom(seed);
const rounds = Number(process.env.ROUNDS ?? 300);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Looks until it is true; a minute is the most that anything may take. */
async function until(what, look) {
    const end = Date.now() + 60_000;
    let seen;
    while ((seen = await look()) !== true) {
        assert.ok(Date.now() < end, `${what}: ${JSON.stringify(seen)}`);
        await pause(50);
    }
}

const skip = missing() || false;
let berth;
const clients = {};         // by name: both transports, both eras

before(async () => {
    if (skip) return;
    berth = await Berth.start();
    clients['HTTP, stateless'] = new HttpClient(berth);
    clients['HTTP, session'] = await new HttpClient(berth).initialize();
    clients['HTTP, another session'] = await new HttpClient(berth).initialize();
    // Two windows of one user: two processes, one server behind them.
    clients['stdio, stateless'] = new StdioClient(berth);
    clients['stdio, session'] = await new StdioClient(berth).initialize();
});
after(async () => {
    for (const client of Object.values(clients)) await client.close();
    await berth?.stop();
});

// What a stdio client's processes use together: its own, and the server behind it.
const stdioUse = () => processes(berth.directory)
    .filter(([, command]) => command.includes('/stdio') && !command.includes('/sandboxes/'))
    .map(([pid]) => use(pid))
    .reduce((a, b) => Object.fromEntries(Object.keys(a).map((key) => [key, a[key] + b[key]])));

test('equal ids at the same time get their own answers', { skip, timeout: 240_000 }, async () => {
    const ids = [1, 0, -7, 2 ** 53 - 1, '1', '', 'ünïcödé', 'x'.repeat(200)];
    await Promise.all(Object.entries(clients).map(async ([name, client]) => {
        const { failed, text, structured } = await client.call('workspace_create', {});
        assert.ok(!failed, text);
        const { workspace_id } = structured;
        for (let round = 0; round < 3; round++) {
            // Every client has the same ids in flight; the sandbox sees to it that answers come in another order.
            const answers = await Promise.all(ids.map((id, i) => client.ask(id, 'run_command', {
                workspace_id, command: `sleep 0.${(ids.length - i) % 5}; echo "${name} ${i} ${round}"` })));
            answers.forEach((answer, i) => {
                assert.deepEqual(answer.id, ids[i], name);
                assert.equal(answer.result.structuredContent.output, `${name} ${i} ${round}\n`);
            });
        }
        await client.call('workspace_delete', { workspace_id });
    }));
});

// Malformed in form, then good form that means nothing: what, message, code. The unit tests have the long tables.
const malformed = [
    ['not JSON', '{"jsonrpc":"2.0","id":1', -32700],
    ['words', 'GET / HTTP/1.1', -32700],
    ['no UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), -32700],
    ['a NUL byte', '{"jsonrpc":"2.0","id":1,\0"method":"ping"}', -32700],
    ['a NUL in a string', '{"jsonrpc":"2.0","id":1,"method":"a\\u0000b"}', [-32600, -32602, -32700]],
    ['a key twice', '{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700],
    ['a number beyond all', '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}}', -32700],
    ['depth', `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":${'['.repeat(5000)}${']'.repeat(5000)}}}`, [-32600, -32700]],
    ['a batch', '[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600],
    ['a number', '42', -32600],
    ['no version', '{"id":1,"method":"ping"}', -32600],
    ['no method', '{"jsonrpc":"2.0","id":1}', -32600],
    ['a method that is none', '{"jsonrpc":"2.0","id":1,"method":["ping"]}', -32600],
    ['an id that is none', '{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}', -32600],
    ['params that are none', '{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}', [-32600, -32602]],
    ['both question and answer', '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', -32600],
    ['no such method', JSON.stringify({ ...callMessage(1, 'x', {}), method: 'no/such' }), -32601],
    ['no such tool', JSON.stringify(callMessage(1, 'no_such_tool', {})), -32602],
    ['arguments that are none', JSON.stringify(callMessage(1, 'workspace_list', [])), -32602],
];
const expected = (code, wanted) => [wanted].flat().includes(code);

test('malformed messages on stdio are refused, and the next call is answered', { skip, timeout: 120_000 }, async () => {
    const client = clients['stdio, stateless'];
    for (const [what, message, code] of malformed) {
        client.write(message);
        client.write('\n');
        const answer = await client.unasked();
        assert.ok(expected(answer.error?.code, code), `${what}: ${JSON.stringify(answer)}`);
        const next = await client.call('workspace_list', {});
        assert.ok(!next.failed, `after ${what}: ${next.text}`);
    }
    // A line longer than any message may be, and one that comes in crumbs.
    const crumb = 'x'.repeat(MiB);
    for (let sent = 0; sent < 48; sent++) {
        if (!client.process.stdin.write(crumb)) await new Promise((done) => client.process.stdin.once('drain', done));
    }
    client.write('\n');
    assert.equal((await client.unasked()).error.code, -32600);
    assert.ok(stdioUse().peak < 384 * MiB);
    const message = callMessage('crumbs', 'workspace_list', {});
    const answer = client.exchange({ ...message, id: 'beside' });
    for (const byte of JSON.stringify({ ...message })) client.write(byte);
    client.write('\n');
    assert.equal((await client.unasked()).id, 'crumbs');
    await answer;
});

test('malformed messages over HTTP are refused, and the next call is answered', { skip, timeout: 120_000 }, async () => {
    const client = clients['HTTP, stateless'];
    const headers = (message) => {
        let parsed = {};
        try {
            parsed = JSON.parse(message);
        } catch { /* that is the point */ }
        return {
            'MCP-Protocol-Version': '2026-07-28',
            ...(typeof parsed.method === 'string' && !parsed.method.includes('\0') ? { 'Mcp-Method': parsed.method } : {}),
            ...(typeof parsed.params?.name === 'string' ? { 'Mcp-Name': parsed.params.name } : {}),
        };
    };
    for (const [what, message, code] of malformed) {
        const { status, messages } = await client.post(message, headers(message));
        assert.ok(status === 400 || status === 404 || status === 200, `${what}: status ${status}`);
        assert.ok(expected(messages[0]?.error?.code, code), `${what}: ${status} ${JSON.stringify(messages)}`);
        const next = await client.call('workspace_list', {});
        assert.ok(!next.failed, `after ${what}: ${next.text}`);
    }
    const huge = await client.post('x'.repeat(48 * MiB)).then(({ status }) => status, () => 413);
    assert.equal(huge, 413);
    assert.ok(!(await client.call('workspace_list', {})).failed);
    assert.ok(use(berth.process.pid).peak < 256 * MiB);
});

test(`cancellations at random times leave nothing behind (SEED=${seed})`, { skip, timeout: 300_000 }, async (t) => {
    const client = clients['HTTP, stateless'];
    const made = await client.call('workspace_create', { files: { 'big.txt': 'line of text\n'.repeat(20_000) } });
    const { workspace_id } = made.structured;
    const here = async (name, args) => {
        const answer = await client.call(name, { workspace_id, ...args });
        assert.ok(!answer.failed, `${name}: ${answer.text}`);
        return answer.structured;
    };
    await here('run_command', { command: 'for i in $(seq 200); do cp big.txt copy-$i.txt; done' });
    const { process_id } = await here('run_command', { command: 'exec cat', background: true });
    let serial = 0;
    // Every tool, with arguments under which it takes a while where it can.
    const calls = {
        workspace_create: () => ({ files: { 'a.txt': 'a'.repeat(10_000) } }),
        workspace_get: () => ({ workspace_id, include: ['metrics', 'ports', 'processes', 'events'] }),
        workspace_list: () => ({}),
        workspace_delete: () => ({ workspace_id: 'ws-of-nobody' }),
        run_command: () => ({ workspace_id, command: 'sleep 7777 & sleep 7777; true' }),
        read_process_output: () => ({ process_id, wait_ms: 30_000, cursor: 1e9 }),
        send_process_input: () => ({ process_id, input: 'x\n', wait_ms: 500 }),
        stop_process: () => ({ process_id: 'p-of-nobody' }),
        read_file: () => ({ workspace_id, path: 'big.txt' }),
        write_file: () => ({ workspace_id, path: `written-${++serial % 10}`, content: 'w'.repeat(200_000) }),
        edit_file: () => ({ workspace_id, path: 'big.txt', edits: [{ old_string: 'text', new_string: 'text', replace_all: true }] }),
        search_files: () => ({ workspace_id, regex: 'nothing like (this|that)+' }),
        list_directory: () => ({ workspace_id }),
        move_file: () => ({ workspace_id, path: 'copy-1.txt', to: 'copy-1.txt', overwrite: true }),
        copy_file: () => ({ workspace_id, path: 'big.txt', to: `copied-${++serial}` }),
        delete_file: () => ({ workspace_id, path: `copied-${serial}` }),
        make_directory: () => ({ workspace_id, path: `made-${++serial % 10}` }),
    };
    const names = Object.keys(calls);
    const session = clients['HTTP, session'];

    /** Sends one call and takes it back after a while; the ways are those that clients have. */
    const cancelled = async (name, way) => {
        const ms = random() ** 3 * 120;
        if (way === 'hang up') {
            await client.call(name, calls[name](), AbortSignal.timeout(Math.ceil(ms))).catch(() => {});
        } else {
            const id = `cancelled-${++serial}`;
            const hangUp = new AbortController();
            const answered = session.ask(id, name, calls[name](), hangUp.signal).catch(() => {});
            await pause(ms);
            await session.cancel(id);
            // The notice may have come before the call, on another connection, and a session's call outlives a hang-up: once
            // more. A cancelled one may have no answer at all; its stream ends all the same, or is ended here.
            if (await Promise.race([answered.then(() => false), pause(200).then(() => true)])) await session.cancel(id);
            await Promise.race([answered, pause(200)]);
            hangUp.abort();
            await answered;
        }
    };
    const ended = async () => {
        const { output } = await here('run_command', { command: 'pgrep -c sleep || true' });
        return output.trim() === '0' ? true : output;
    };
    const deleteOthers = async () => {
        for (const workspace of (await client.call('workspace_list', { limit: 200 })).structured.workspaces) {
            const id = workspace.workspace_id;
            if (id !== workspace_id) await client.call('workspace_delete', { workspace_id: id });
        }
    };
    const round = async (count) => {
        for (let n = 0; n < count; n += 4) {
            await Promise.all([0, 1, 2, 3].map((lane) =>
                cancelled(names[Math.floor(random() * names.length)], lane % 2 ? 'hang up' : 'notify')));
            if (n % 40 === 0) await deleteOthers();     // created before the cancellation was seen
        }
        await until('a cancelled command goes on', ended);
        await deleteOthers();
        await until('something of nobody is left', async () => {
            // One that was being made when its client went is seen later than this loop begins.
            await deleteOthers();
            const headers = { Authorization: `Bearer ${berth.token}` };
            const metrics = await (await fetch(berth.url.replace('/mcp', '/metrics'), { headers })).text();
            const gauge = (name) => Number(metrics.match(new RegExp(`^${name} (\\d+)$`, 'm'))[1]);
            const seen = [groups(berth.data).length, slots(berth.data).length, gauge('berth_sandboxes')];
            // The workspace, two in stock, and one that was made for a restore, of each runtime; four volumes in stock.
            const most = process.env.BERTH_RUNTIME === 'native' ? 5 : 4;
            return (seen.every((count) => count === seen[0] && count >= 3 && count <= most) &&
                volumes(berth.data).length === 5 && gauge('berth_workspaces') === 1) || [seen, metrics];
        });
        const { output } = await here('run_command', { command: 'ls -d /proc/[0-9]* | wc -l' });
        return {
            ...use(berth.process.pid), inside: Number(output), mounts: mounts(berth.data).length, loops: loops(berth.data).length,
            processes: processes(`${berth.data}/sandboxes`).length,
        };
    };
    const first = await round(rounds);  // fills caches, pools and the heaps of the threads that work on files
    const second = await round(rounds);
    t.diagnostic(`${JSON.stringify(first)} and after ${rounds} more ${JSON.stringify(second)}`);
    assert.ok(second.descriptors <= first.descriptors + 8, 'descriptors');
    assert.ok(second.memory <= first.memory + 32 * MiB, 'memory');
    assert.ok(second.threads <= first.threads + 4, 'threads');
    assert.ok(second.inside <= first.inside + 2, 'processes inside');     // the counting itself takes some
    // The one for a restore may be there or not yet: a mount, a sentry and its gofer.
    assert.equal(second.loops, first.loops);
    assert.ok(second.mounts <= first.mounts + 1, 'mounts');
    assert.ok(second.processes <= first.processes + 2, 'processes outside');
    assert.equal((await here('read_file', { path: 'big.txt', limit: 1 })).total_lines, 20_000);
    assert.deepEqual((await here('list_directory', {})).entries.filter((entry) => entry.name.startsWith('.berth')), []);
    await here('workspace_delete', {});
});

test('cancellations on stdio leave nothing behind', { skip, timeout: 300_000 }, async (t) => {
    for (const name of ['stdio, stateless', 'stdio, session']) {
        const client = clients[name];
        const { workspace_id } = (await client.call('workspace_create', {})).structured;
        const round = async (count) => {
            for (let n = 0; n < count; n++) {
                const id = `cancelled-${count}-${n}`;
                client.ask(id, ...(n % 2
                    ? ['run_command', { workspace_id, command: 'sleep 7777; true' }]
                    : ['write_file', { workspace_id, path: 'a', content: 'a'.repeat(100_000) }])).catch(() => {});
                await pause(random() ** 2 * 30);
                client.cancel(id);
            }
            await until('a cancelled command goes on', async () => {
                const { structured } = await client.call('run_command', { workspace_id, command: 'pgrep -c sleep || true' });
                return structured.output.trim() === '0' ? true : structured.output;
            });
            return stdioUse();
        };
        const first = await round(30);
        const second = await round(100);
        t.diagnostic(`${name}: ${JSON.stringify(first)} and after 100 more ${JSON.stringify(second)}`);
        assert.ok(second.descriptors <= first.descriptors + 8, 'descriptors');
        assert.ok(second.memory <= first.memory + 24 * MiB, 'memory');
        assert.ok(!(await client.call('workspace_delete', { workspace_id })).failed);
    }
});
