// Servers that are idle are let go of side by side: one that takes its time over it holds up no other, none is let go of
// twice, and berth's own end waits for those under way.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { pause, state, until } from './lib/community.mjs';
import { suite } from './lib/suite.mjs';

/** As long as the slow ones take over the end of a session; berth waits for five seconds. */
const slowness = 3000;
const names = ['slow-1', 'slow-2', 'slow-3', 'slow-4', 'slow-5', 'slow-6'];
const ending = new Map();       // sessions by server, whose end is asked for and not yet answered
const ended = new Map(names.map((name) => [name, 0]));
let most = 0, twice = 0, sessions = 0;

async function take(request, response) {
    let body = '';
    for await (const chunk of request) body += chunk;
    const name = request.url.slice(1);
    const say = (status, value, fields = {}) => {
        response.writeHead(status, { 'Content-Type': 'application/json', ...fields });
        response.end(value === undefined ? undefined : JSON.stringify(value));
    };
    if (request.method === 'DELETE') {
        if (ending.has(name)) twice++;
        ending.set(name, true);
        most = Math.max(most, ending.size);
        await pause(slowness);
        ending.delete(name);
        ended.set(name, ended.get(name) + 1);
        return say(200, {});
    }
    if (request.method !== 'POST') return say(405, {});
    const { id, method } = JSON.parse(body);
    if (id === undefined) return say(202);
    const answer = (result, fields) => say(200, { jsonrpc: '2.0', id, result }, fields);
    switch (method) {
        case 'initialize':
            return answer({ protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name, version: '1' } },
                { 'Mcp-Session-Id': `${name}-${++sessions}` });
        case 'tools/list': return answer({ tools: [{ name: 'wake', description: 'Wakes.', inputSchema: { type: 'object' } }] });
        case 'tools/call': return answer({ content: [{ type: 'text', text: 'awake' }] });
        default: return say(200, { jsonrpc: '2.0', id, error: { code: -32601, message: `no ${method}` } });
    }
}

const server = createServer((request, response) => take(request, response).catch(() => response.destroy()));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const { port } = server.address();
after(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
    assert.equal(twice, 0, 'no server was let go of twice at once');
});

suite((berth) => {
    test('one that is slow to end does not hold up the housekeeping of the others', { timeout: 120_000 }, async () => {
        await until('all have ended', () => names.every((name) => ended.get(name) > 0));
        assert.ok(most > 1, 'side by side');
        assert.ok(most <= 4, `${most} at once`);
        for (const name of names) assert.equal((await state(berth(), name)).state, 'asleep', name);
    });

    test('a server that is being let go of is there for a call, once that is over', { timeout: 60_000 }, async () => {
        await Promise.all(names.map((name) => berth().tool('call_tool', { tool: `${name}__wake`, arguments: {} })));
        await until('some are being let go of', () => ending.size > 1);
        const [name] = ending.keys();
        assert.match(String(await berth().tool('call_tool', { tool: `${name}__wake`, arguments: {} })), /awake/);
    });

    test('berth ends while some are being let go of', { timeout: 60_000 }, async () => {
        await until('some are', () => ending.size > 0);
        await berth().tool('servers_list');
        berth().process.kill('SIGTERM');
        assert.equal(await berth().ended, 0, berth().log);
        await berth().serve();
    });
}, '', Object.fromEntries(names.map((name) => [name, { url: `http://127.0.0.1:${port}/${name}`, oauth: false, idleTimeoutMs: 1500 }])));
