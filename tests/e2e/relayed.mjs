// What passes between a client and a community server beside calls and their results: _meta, the level of logs, notices of pages
// that are done with and of roots that moved, and what is watched. The server is played here, so that all of it is seen.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { v2 } from './lib/clients.mjs';
import { askable, Mailbox, settled, state, until } from './lib/community.mjs';
import { suite } from './lib/suite.mjs';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures');
const heard = new Mailbox();        // { name, method, params } of what berth sends
const unasked = new Map();          // the GET stream of each server, for what it says by itself
const held = new Map();             // calls of `stay`, by server: what ends them
const questions = new Map();        // ids of questions: what their answer goes to
let sessions = 0;

const tools = ['meta', 'debug', 'page', 'needs', 'stay'].map((name) => ({ name, inputSchema: { type: 'object' } }));
const page = (elicitationId) => ({ mode: 'url', elicitationId, url: 'https://example.com/page', message: 'Open it.' });
const plain = {
    initialize: () => ({ protocolVersion: '2025-11-25', serverInfo: { name: 'played', version: '1' },
        capabilities: { tools: {}, prompts: {}, resources: { subscribe: true }, logging: {}, completions: {} } }),
    'logging/setLevel': () => ({}),
    'tools/list': () => ({ tools }),
    'prompts/list': () => ({ prompts: [{ name: 'once' }, { name: 'twice' }, { name: 'twice' }] }),
    'prompts/get': () => ({ messages: [], _meta: { answer: 'prompt' } }),
    'resources/list': (params, name) => ({ resources: [{ uri: 'same://one', name: 'one' }, { uri: `${name}://one`, name: 'another' }] }),
    'resources/templates/list': () => ({ resourceTemplates: [] }),
    'resources/read': ({ uri }) => ({ contents: [{ uri, text: 'x' }], _meta: { answer: 'resource' } }),
    'resources/subscribe': () => ({}),
    'resources/unsubscribe': () => ({}),
    'completion/complete': () => ({ completion: { values: ['v'] }, _meta: { answer: 'completion' } }),
};

function called(name, { name: tool, _meta }, say) {
    const done = (result) => say({ result: { content: [{ type: 'text', text: 'done' }], ...result } });
    switch (tool) {
        case 'meta': return done({ content: [{ type: 'text', text: JSON.stringify(_meta ?? null) }], _meta: { answer: 'tool' } });
        case 'debug':
            say({ method: 'notifications/message', params: { level: 'debug', data: 'in detail' } });
            return done();
        case 'page': {
            const id = `q-${questions.size}`;
            questions.set(id, () => done());
            return say({ id, method: 'elicitation/create', params: page('asked') });
        }
        case 'needs': return say({ error: { code: -32042, message: 'open it first', data: { elicitations: [page('needed')] } } });
        default: held.set(name, done);
    }
}

async function take(request, response) {
    let body = '';
    for await (const chunk of request) body += chunk;
    const name = request.url.slice(1);
    const stream = () => {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        response.flushHeaders();
        return (message) => response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`);
    };
    if (request.method === 'GET') return unasked.set(name, stream());
    if (request.method !== 'POST') return response.writeHead(200).end();
    const { id, method, params } = JSON.parse(body);
    if (method !== undefined) heard.put({ name, method, params });
    if (id === undefined || method === undefined) {
        response.writeHead(202).end();
        if (method === undefined) questions.get(id)?.();
        return;
    }
    if (method === 'tools/call') {
        const write = stream();
        return called(name, params, (message) => {
            const answers = 'result' in message || 'error' in message;
            write(answers ? { id, ...message } : message);
            if (answers) response.end();
        });
    }
    const result = plain[method]?.(params ?? {}, name);
    response.writeHead(200, { 'Content-Type': 'application/json', ...method === 'initialize' && { 'Mcp-Session-Id': `s-${++sessions}` } });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, ...result ? { result } : { error: { code: -32601, message: `no ${method}` } } }));
}

const server = createServer((request, response) => take(request, response).catch(() => response.destroy()));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const { port } = server.address();
after(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
});
const remote = (name, more) => ({ url: `http://127.0.0.1:${port}/${name}`, type: 'http', oauth: false, ...more });
const configured = {
    played: remote('played'), twin: remote('twin'), sleepy: remote('sleepy', { idleTimeoutMs: 1000 }),
    watched: { command: 'node', args: [join(fixtures, 'watched_server.mjs')], restartDelay: 50, maxRestarts: 0, idleTimeoutMs: 2000,
        sandbox: { filesystem: { allowRead: [fixtures] }, memoryMb: 256 } },
};
const answers = {
    'sampling/createMessage': () => ({ role: 'assistant', model: 'm', content: { type: 'text', text: 't' } }),
    'elicitation/create': () => ({ action: 'accept' }),
    'roots/list': () => ({ roots: [] }),
};
const legacy = async (berth) => {
    const client = await askable(berth, 'http', 'legacy', answers);
    const notices = new Mailbox();
    client.sdk.fallbackNotificationHandler = async (notice) => notices.put(notice);
    return Object.assign(client, { notices, ask: (name) => client.sdk.callTool({ name, arguments: {} }) });
};

suite((berth) => {
    test('a request\'s _meta goes up without what is the protocol\'s own, and a result\'s comes down', { timeout: 180_000 }, async () => {
        await settled(berth(), 'played');
        const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
        for (const client of [await legacy(berth()), await v2(berth(), 'http', { pin: '2026-07-28' })]) {
            const { sdk } = client;
            const _meta = { traceparent, 'example.com/own': { a: 1 }, 'io.modelcontextprotocol/unknown': 1 };
            const params = { name: 'played__meta', arguments: {}, _meta };
            const answer = await (client.era === 'modern' ? sdk.callTool(params) : sdk.callTool(params, undefined));
            assert.deepEqual(JSON.parse(answer.content[0].text), { traceparent, 'example.com/own': { a: 1 } });
            assert.equal(answer._meta.answer, 'tool');
            assert.equal((await sdk.readResource({ uri: 'same://one', _meta: { traceparent } }))._meta.answer, 'resource');
            assert.equal((await sdk.getPrompt({ name: 'played__once' }))._meta.answer, 'prompt');
            const ref = { type: 'ref/prompt', name: 'played__once' };
            assert.equal((await sdk.complete({ ref, argument: { name: 'a', value: '' } }))._meta.answer, 'completion');
            await client.close();
        }
        const read = heard.seen.filter((one) => one.method === 'resources/read');
        assert.equal(read.length, 2);
        for (const { params } of read) assert.deepEqual(params._meta, { traceparent });
    });

    test('a client that wants debug messages gets them, and only then is the server asked for them', { timeout: 180_000 }, async () => {
        const levels = () => heard.seen.filter((one) => one.name === 'played' && one.method === 'logging/setLevel').map((one) => one.params.level);
        const client = await legacy(berth()), logs = new Mailbox();
        client.on('notifications/message', ({ params }) => logs.put(params));
        await client.ask('played__debug');
        assert.deepEqual(levels(), ['info']);
        await client.sdk.setLoggingLevel('debug');
        await client.ask('played__debug');
        await logs.wait('the message', ({ level, data }) => level === 'debug' && data === 'in detail');
        await client.sdk.setLoggingLevel('error');
        await client.ask('played__debug');
        assert.deepEqual(levels(), ['info', 'debug', 'info']);
        assert.equal(logs.seen.length, 1);
        await client.close();
    });

    test('who was sent to a page hears that it is done with, and nobody else', { timeout: 180_000 }, async () => {
        const client = await legacy(berth()), other = await legacy(berth());
        const complete = (elicitationId) => unasked.get('played')({ method: 'notifications/elicitation/complete', params: { elicitationId } });
        const hears = (id) => client.notices.wait(id, ({ method, params }) => method === 'notifications/elicitation/complete' && params.elicitationId === id);
        assert.ok(!(await client.ask('played__page')).isError);
        complete('never heard of');
        complete('asked');
        await hears('asked');
        await assert.rejects(client.ask('played__needs'), ({ code }) => code === -32042);
        complete('needed');
        await hears('needed');
        assert.equal(client.notices.seen.length, 2);
        assert.equal(other.notices.seen.length, 0);
        await Promise.all([client.close(), other.close()]);
    });

    test('a client\'s roots that moved are told with a call of its under way', { timeout: 180_000 }, async () => {
        const client = await legacy(berth());
        const told = () => heard.seen.filter((one) => one.name === 'played' && one.method === 'notifications/roots/list_changed').length;
        await client.sdk.sendRootsListChanged();
        await client.ask('played__debug');
        await until('the server hears of it', () => told() === 1);
        const staying = client.ask('played__stay');
        await until('it stays', () => held.has('played'));
        await client.sdk.sendRootsListChanged();
        await until('the server hears of it', () => told() === 2);
        held.get('played')();
        await staying;
        await client.close();
    });

    test('a watched resource is watched at its server, asleep or configured anew, until nobody watches', { timeout: 180_000 }, async () => {
        const client = await legacy(berth());
        const uri = 'sleepy://one', count = (method) => heard.seen.filter((one) => one.name === 'sleepy' && one.method === method).length;
        const sleeps = () => until('it sleeps', async () => (await state(berth(), 'sleepy')).state === 'asleep');
        await sleeps();
        await client.sdk.subscribeResource({ uri });
        await until('the server hears of it', () => count('resources/subscribe') === 1);
        berth().configure({ ...configured, sleepy: remote('sleepy', { idleTimeoutMs: 1000, headers: { 'X-Other': '1' } }) });
        await until('the next one hears of it', () => count('resources/subscribe') === 2);
        assert.equal(count('resources/unsubscribe'), 0);
        await client.sdk.unsubscribeResource({ uri });
        await until('the server hears of that', () => count('resources/unsubscribe') === 1);
        await sleeps();
        await client.close();
    });

    test('a watched server that dies comes back for its watchers', { timeout: 180_000 }, async () => {
        const client = await legacy(berth()), updates = new Mailbox();
        client.on('notifications/resources/updated', ({ params }) => updates.put(params.uri));
        await until('it is known', async () => (await client.sdk.listResources()).resources.some((one) => one.uri === 'watched://one'));
        await client.sdk.subscribeResource({ uri: 'watched://one' });
        await until('an update', () => updates.seen.length === 1);
        await client.ask('watched__die').catch(() => {});
        await until('an update of the next', () => updates.seen.length === 2);
        await client.close();
    });

    test('prompts and resources that are claimed twice are reported', { timeout: 180_000 }, async () => {
        for (const name of ['played', 'twin']) {
            await settled(berth(), name);
            const { warnings } = await berth().tool('server_status', { server: name });
            assert.ok(warnings.includes(`the name ${name}__twice is claimed by several prompts, so none of them has it: ${name}/twice`), warnings.join('\n'));
            assert.ok(warnings.includes('the resource same://one is offered by several servers, and played has it'), warnings.join('\n'));
        }
    });
}, '', configured);
