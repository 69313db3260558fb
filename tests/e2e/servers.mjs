// Well-known community servers from npm, each in its own sandbox, through both protocol eras: what server-everything can
// do, the reference servers, and others as far as they go without network and credentials.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { resolve } from 'node:path';
import { v1, v2 } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';

const tools = resolve(process.env.BERTH_NODE_TOOLS ?? 'build/node');
const packages = `${tools}/node_modules`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const local = (path, args = [], more = {}) => ({
    command: `${tools}/bin/node`, args: [`${packages}/${path}`, ...args], ...more,
    sandbox: { filesystem: { allowRead: [tools] }, ...more.sandbox },
});
const subjects = {
    everything: local('@modelcontextprotocol/server-everything/dist/index.js'),
    filesystem: local('@modelcontextprotocol/server-filesystem/dist/index.js', ['/workspace']),
    memory: local('@modelcontextprotocol/server-memory/dist/index.js', [], { env: { MEMORY_FILE_PATH: '/workspace/memory.jsonl' } }),
    thinking: local('@modelcontextprotocol/server-sequential-thinking/dist/index.js'),
    github: local('@modelcontextprotocol/server-github/dist/index.js'),
    postgres: local('@modelcontextprotocol/server-postgres/dist/index.js', ['postgresql://localhost/none']),
    context7: local('@upstash/context7-mcp/dist/index.js'),
    git: local('@cyanheads/git-mcp-server/dist/index.js'),
    commands: local('mcp-server-commands/build/index.js'),
    pdf: local('@modelcontextprotocol/server-pdf/dist/index.js', ['--stdio']),
    sqlite: local('mcp-server-sqlite-npx/dist/index.js', ['/workspace/x.db'], { restartDelay: 200, maxRestarts: 2 }),
};

async function until(what, check) {
    for (let tries = 0; tries < 600; tries++) {
        const found = await check();
        if (found) return found;
        await pause(100);
    }
    throw new Error(`${what}: not in a minute`);
}

const capabilities = { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } };
const answers = {
    'sampling/createMessage': () => ({ role: 'assistant', model: 'test-model', content: { type: 'text', text: 'sampled words' } }),
    'elicitation/create': () => ({ action: 'accept', content: { name: 'Ada', check: true } }),
    'roots/list': () => ({ roots: [{ uri: 'file:///client', name: 'client' }] }),
};

async function askable(it, era) {
    if (era === 'modern') {
        const client = await v2(it, 'http', { pin: '2026-07-28' }, { capabilities });
        for (const [method, answer] of Object.entries(answers)) client.sdk.setRequestHandler(method, answer);
        return client;
    }
    const client = await v1(it, 'http', { capabilities });
    const { createRequire } = await import('node:module');
    const schemas = createRequire(`${tools}/package.json`)('@modelcontextprotocol/sdk/types.js');
    const of = { 'sampling/createMessage': schemas.CreateMessageRequestSchema, 'elicitation/create': schemas.ElicitRequestSchema,
        'roots/list': schemas.ListRootsRequestSchema };
    for (const [method, answer] of Object.entries(answers)) client.sdk.setRequestHandler(of[method], answer);
    return client;
}

if (!existsSync(`${packages}/@modelcontextprotocol/server-everything`)) {
    test('the whole file', { skip: 'the servers are not installed (scripts/setup-suites)' }, () => {});
} else {
    suite((berth) => {
        const state = async (name) => (await berth().tool('servers_list')).servers.find((one) => one.server === name);
        test('all of them run, and the one that cannot says why', async () => {
            for (const name of Object.keys(subjects)) {
                const one = await until(name, async () => {
                    const now = await state(name);
                    return ['ready', 'degraded', 'backing_off', 'failed'].includes(now.state) && now;
                });
                if (name === 'sqlite') {
                    assert.match(one.state, /backing_off|failed/);
                    assert.ok(one.reason.length > 10, one.reason);
                } else {
                    assert.match(one.state, /ready|degraded/, JSON.stringify(one));
                    assert.ok(one.tools > 0, JSON.stringify(one));
                }
            }
            assert.match((await state('postgres')).reason ?? '', /resources\/list/, 'a part that fails is named');
        });

        for (const era of ['modern', 'legacy']) {
            test(`server-everything through a ${era} client`, async (t) => {
                const client = await askable(berth(), era);
                const call = async (name, args = {}, options = {}) => {
                    const answer = await client.call(`everything__${name}`, args, options);
                    assert.ok(!answer.failed, `${name}: ${answer.text}`);
                    return answer;
                };
                try {
                    const listed = await client.tools();
                    const mine = new Set(listed.map((tool) => tool.name).filter((name) => name.startsWith('everything__')));
                    // Its name is longer than 40 characters with the server's, and therefore cut.
                    const long = [...mine].find((name) => name.startsWith('everything__trigger-long')).slice('everything__'.length);
                    await t.test('lists and calls tools', async () => {
                        assert.ok(mine.has('everything__echo') && mine.size >= 12, [...mine].join());
                        assert.match((await call('echo', { message: 'hello' })).text, /hello/);
                        assert.match((await call('get-sum', { a: 2, b: 3 })).text, /5/);
                        const { structured } = await call('get-structured-content', { location: 'New York' });
                        assert.equal(typeof structured.temperature, 'number');
                        const raw = await client.sdk.callTool({ name: 'everything__get-tiny-image', arguments: {} });
                        assert.ok(raw.content.some((block) => block.type === 'image' && block.data.length > 100));
                    });
                    await t.test('hears of progress', async () => {
                        const heard = [];
                        await call(long, { duration: 2, steps: 4 }, { onprogress: (one) => heard.push(one.progress) });
                        assert.ok(heard.length >= 2, `${heard}`);
                    });
                    await t.test('is asked: sampling, elicitation; and roots are what is inside', async () => {
                        const sampling = [...mine].find((name) => /sampling-request$/.test(name) && !/async/.test(name));
                        const elicitation = [...mine].find((name) => /elicitation-request$/.test(name) && !/async|url/.test(name));
                        assert.ok(sampling && elicitation, [...mine].join());
                        assert.match((await client.call(sampling, { prompt: 'say', maxTokens: 10 })).text, /sampled words/);
                        assert.match((await client.call(elicitation, {})).text, /Ada|accept/i);
                        if (mine.has('everything__get-roots-list')) {
                            assert.match((await call('get-roots-list')).text, /file:\/\/\/workspace/);
                        }
                    });
                    await t.test('reads resources, templates and prompts, and completes', async () => {
                        const { resources } = await client.sdk.listResources();
                        const one = resources.find((resource) => !resource.uri.startsWith('berth:'));
                        assert.ok(one, JSON.stringify(resources));
                        assert.equal((await client.sdk.readResource({ uri: one.uri })).contents[0].uri, one.uri);
                        const { resourceTemplates } = await client.sdk.listResourceTemplates();
                        assert.ok(resourceTemplates.some((template) => template.uriTemplate.startsWith('demo:')), JSON.stringify(resourceTemplates));
                        const { prompts } = await client.sdk.listPrompts();
                        const simple = prompts.find((prompt) => prompt.name.startsWith('everything__') && !prompt.arguments?.some((a) => a.required));
                        assert.ok((await client.sdk.getPrompt({ name: simple.name, arguments: {} })).messages.length > 0);
                        const completable = prompts.find((prompt) => /completable/.test(prompt.name));
                        const { completion } = await client.sdk.complete({
                            ref: { type: 'ref/prompt', name: completable.name }, argument: { name: completable.arguments[0].name, value: '' },
                        });
                        assert.ok(completion.values.length > 0);
                    });
                    await t.test('cancels a call, and the server goes on', async () => {
                        const stop = new AbortController();
                        const running = client.call(`everything__${long}`, { duration: 60, steps: 60 },
                            { signal: stop.signal, onprogress: () => stop.abort() });
                        await assert.rejects(running);
                        assert.match((await call('echo', { message: 'after' })).text, /after/);
                    });
                } finally {
                    await client.close();
                }
            });
        }

        test('reference servers do their work, and keep it', async () => {
            const client = await v2(berth(), 'http', { pin: '2026-07-28' });
            const call = async (name, args) => {
                const answer = await client.call(name, args);
                assert.ok(!answer.failed, `${name}: ${answer.text}`);
                return answer.text;
            };
            try {
                await call('filesystem__write_file', { path: '/workspace/a.txt', content: 'kept' });
                assert.match(await call('filesystem__read_text_file', { path: '/workspace/a.txt' }), /kept/);
                assert.ok((await client.call('filesystem__read_text_file', { path: '/etc/passwd' })).failed);
                await call('memory__create_entities', { entities: [{ name: 'Ada', entityType: 'person', observations: ['writes'] }] });
                await call('thinking__sequentialthinking', { thought: 'one', nextThoughtNeeded: true, thoughtNumber: 1, totalThoughts: 2 });
                assert.equal((await berth().tool('server_restart', { server: 'memory' })).state, 'ready');
                assert.match(await call('memory__read_graph', {}), /Ada/);
                assert.equal((await berth().tool('search_tools', { query: 'knowledge graph entities' })).tools[0].server, 'memory');
            } finally {
                await client.close();
            }
        });
    }, '', subjects);
}
