// Every feature of the protocol that server-everything has, through berth: clients of both eras, over both transports.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { absent, askable, everything, Mailbox, settled, until } from './lib/community.mjs';
import { suite } from './lib/suite.mjs';
import { HttpClient } from './lib/wire.mjs';

const answers = {
    'sampling/createMessage': ({ messages }) => ({ role: 'assistant', model: 'test-model',
        content: { type: 'text', text: `sampled after ${messages.length}` } }),
    'elicitation/create': (params) => params.mode === 'url' ? { action: 'accept' }
        : { action: 'accept', content: 'interpretation' in (params.requestedSchema?.properties ?? {})
            ? { interpretation: 'snake' } : { name: 'Ada', check: true } },
    'roots/list': () => ({ roots: [{ uri: 'file:///client', name: 'client' }] }),
};

/** All of it with one client. `way` makes names of its own. */
async function all(t, client, way, berth) {
    const server = 'everything';
    const { sdk } = client;
    const modern = client.era === 'modern';
    const listed = new Map((await client.tools()).filter((tool) => tool.name.startsWith(`${server}__`)).map((tool) => [tool.name, tool]));
    // Names that would be longer than 40 characters are cut, and end in a part of their hash.
    const named = (tool, whole = `${server}__${tool}`) =>
        [...listed.keys()].find((name) => name === whole || (whole.length > 40 && whole.startsWith(name.replace(/_[0-9a-f]{6}$/, '')) && name.length > 32));
    // `meta` goes beside what the client itself says about the request.
    const raw = async (tool, args = {}, options = {}, meta = undefined) => {
        const params = { name: named(tool) ?? `${server}__${tool}`, arguments: args, ...(meta && { _meta: meta }) };
        const limited = { timeout: 60_000, ...options };
        return modern ? sdk.callTool(params, limited) : sdk.callTool(params, undefined, limited);
    };
    const call = async (...given) => {
        const answer = await raw(...given);
        assert.ok(!answer.isError, `${given[0]}: ${JSON.stringify(answer)}`);
        return answer;
    };
    const text = async (...given) => (await call(...given)).content.map((block) => block.text ?? '').join('\n');

    await t.test('tools with schema, annotations and title', async () => {
        assert.ok(listed.size >= 16, [...listed.keys()].join());
        const echo = listed.get(`${server}__echo`);
        assert.deepEqual(echo.inputSchema.required, ['message']);
        assert.equal(echo.annotations.readOnlyHint, true);
        assert.equal(echo.title, 'Echo Tool');
        assert.ok(listed.get(named('get-structured-content')).outputSchema.properties.temperature);
        assert.match(await text('echo', { message: 'hello' }), /hello/);
        assert.match(await text('get-sum', { a: 2, b: 3 }), /5/);
        const wrong = await raw('get-sum', { a: 'two' }).catch((error) => ({ isError: true, content: [{ text: error.message }] }));
        assert.ok(wrong.isError, 'arguments that its schema refuses');
    });

    await t.test('structured output, images, annotations and embedded resources', async () => {
        const { structuredContent } = await call('get-structured-content', { location: 'Chicago' });
        assert.deepEqual(structuredContent, { temperature: 36, conditions: 'Light rain / drizzle', humidity: 82 });
        const { content: shown } = await call('get-annotated-message', { messageType: 'error', includeImage: true });
        assert.deepEqual(shown[0].annotations, { priority: 1, audience: ['user', 'assistant'] });
        assert.equal(shown[1].type, 'image');
        assert.deepEqual([...Buffer.from(shown[1].data, 'base64').subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
        const { content: image } = await call('get-tiny-image');
        assert.equal(image.find((block) => block.type === 'image').mimeType, 'image/png');
        const { content: embedded } = await call('get-resource-reference', { resourceType: 'Blob', resourceId: 3 });
        const { resource } = embedded.find((block) => block.type === 'resource');
        assert.equal(resource.uri, 'demo://resource/dynamic/blob/3');
        assert.match(Buffer.from(resource.blob, 'base64').toString(), /^Resource 3: /);
    });

    await t.test('links to resources, which can be read at once', async () => {
        const { content } = await call('get-resource-links', { count: 4 });
        const links = content.filter((block) => block.type === 'resource_link');
        assert.equal(links.length, 4);
        for (const { uri } of links) assert.equal((await sdk.readResource({ uri })).contents[0].uri, uri);
    });

    await t.test('a resource that a tool makes, and the notice of it', async () => {
        const changes = new Mailbox();
        client.on('notifications/resources/list_changed', () => changes.put('changed'));
        const listen = modern ? await sdk.listen({ resourcesListChanged: true }) : undefined;
        const name = `made-by-${way}.gz`;
        const { content: [link] } = await call('gzip-file-as-resource', { name, data: 'data:text/plain,words' });
        assert.equal(link.type, 'resource_link');
        const { contents: [made] } = await sdk.readResource({ uri: link.uri });
        assert.equal(gunzipSync(Buffer.from(made.blob, 'base64')).toString(), 'words');
        await changes.wait('a further resource');
        await until('it is listed', async () => (await sdk.listResources()).resources.some((one) => one.uri === link.uri));
        await listen?.close();
    });

    await t.test('resources, templates and their completion', async () => {
        const { resources } = await sdk.listResources();
        const document = resources.find((one) => /architecture\.md$/.test(one.uri));
        assert.ok(document, JSON.stringify(resources));
        assert.ok((await sdk.readResource({ uri: document.uri })).contents[0].text.length > 100);
        const { resourceTemplates } = await sdk.listResourceTemplates();
        const uriTemplate = 'demo://resource/dynamic/text/{resourceId}';
        assert.ok(resourceTemplates.some((one) => one.uriTemplate === uriTemplate), JSON.stringify(resourceTemplates));
        assert.match((await sdk.readResource({ uri: 'demo://resource/dynamic/text/7' })).contents[0].text, /^Resource 7: /);
        const { completion } = await sdk.complete({ ref: { type: 'ref/resource', uri: uriTemplate }, argument: { name: 'resourceId', value: '12' } });
        assert.deepEqual(completion.values, ['12']);
        await assert.rejects(sdk.readResource({ uri: 'demo://resource/dynamic/text/none' }), /Unknown resource/);
    });

    await t.test('prompts, and completion that depends on another argument', async () => {
        const { prompts } = await sdk.listPrompts();
        const mine = (name) => prompts.find((prompt) => prompt.name === `${server}__${name}`);
        const get = async (name, args) => (await sdk.getPrompt({ name: mine(name).name, arguments: args })).messages;
        assert.match((await get('simple-prompt'))[0].content.text, /without arguments/);
        assert.deepEqual(mine('args-prompt').arguments.map((one) => [one.name, one.required === true]), [['city', true], ['state', false]]);
        assert.match((await get('args-prompt', { city: 'Paris', state: 'Texas' }))[0].content.text, /Paris, Texas/);
        const embedded = await get('resource-prompt', { resourceType: 'Text', resourceId: '2' });
        assert.equal(embedded[1].content.resource.uri, 'demo://resource/dynamic/text/2');
        await assert.rejects(get('args-prompt', {}), 'without what it needs');
        const ref = { type: 'ref/prompt', name: mine('completable-prompt').name };
        assert.deepEqual((await sdk.complete({ ref, argument: { name: 'department', value: 'S' } })).completion.values, ['Sales', 'Support']);
        assert.deepEqual((await sdk.complete({ ref, argument: { name: 'name', value: '' }, context: { arguments: { department: 'Sales' } } })).completion.values,
            ['David', 'Eve', 'Frank']);
    });

    await t.test('progress, log messages, notices of an update, and cancellation, in one long call', async () => {
        const uri = `demo://resource/dynamic/text/${Date.now()}`;
        const updates = new Mailbox(), logs = new Mailbox(), steps = new Mailbox();
        client.on('notifications/resources/updated', ({ params }) => updates.put(params.uri));
        client.on('notifications/message', ({ params }) => logs.put(params));
        if (!modern) await sdk.setLoggingLevel('info');
        const stop = new AbortController();
        const running = raw('trigger-long-running-operation', { duration: 60, steps: 240 },
            { signal: stop.signal, onprogress: (one) => steps.put(one) },
            modern ? { 'io.modelcontextprotocol/logLevel': 'info' } : undefined).then(() => 'ended', () => 'cancelled');
        await steps.wait('progress', (one) => one.progress >= 2 && one.total === 240);
        // It logs each subscription, while ours is the only call in flight.
        const listen = modern ? await sdk.listen({ resourceSubscriptions: [uri] }) : await sdk.subscribeResource({ uri });
        const { level, logger } = await logs.wait('the subscription', (one) => `${one.data}`.includes(uri));
        assert.equal(level, 'info');
        assert.equal(logger.split('/')[0], server);
        await call('toggle-subscriber-updates');
        await updates.wait('an update', (one) => one === uri);
        await call('toggle-subscriber-updates');
        stop.abort();
        assert.equal(await running, 'cancelled');
        await until('the call is over at the server', async () => (await berth.tool('server_status', { server })).in_flight === 0);
        const heard = steps.seen.length;
        assert.match(await text('echo', { message: 'after' }), /after/);
        assert.deepEqual(steps.seen.map((one) => one.progress), [...steps.seen.keys()].map((n) => n + 1), 'in order, none lost');
        assert.equal(steps.seen.length, heard, 'silence after the cancellation');
        await (modern ? listen.close() : sdk.unsubscribeResource({ uri }));
    });

    await t.test('questions: sampling, elicitation by form and by URL, and roots of the sandbox', async () => {
        assert.match(await text('trigger-sampling-request', { prompt: 'say', maxTokens: 10 }), /sampled after 1/);
        assert.match(await text('trigger-elicitation-request'), /Ada/);
        assert.match(await text('get-roots-list'), /file:\/\/\/workspace/);
        const url = 'https://example.com/sign-in';
        assert.match(await text('trigger-url-elicitation', { url }), /completed the URL elicitation/);
        const needed = await raw('trigger-url-elicitation', { url, errorPath: true, elicitationId: `e-${way}` }).then(() => undefined, (error) => error);
        assert.equal(needed?.code, -32042, `${needed}`);
        assert.equal(needed.data?.elicitations?.[0]?.mode, 'url', JSON.stringify(needed.data));
    });

    await t.test('questions of calls that run side by side', async () => {
        const [sampled, ...echoed] = await Promise.all([
            text('trigger-sampling-request', { prompt: 'say', maxTokens: 10 }),
            text('trigger-elicitation-request').then((said) => { assert.match(said, /Ada/); return 'beside'; }),
            text('echo', { message: 'beside' }), text('echo', { message: 'beside' })]);
        assert.match(sampled, /sampled after 1/);
        for (const one of echoed) assert.match(one, /beside/);
    });

    await t.test('a tool that runs only as a task, with a question in the middle', async () => {
        const said = await text('simulate-research-query', { topic: 'python', ambiguous: true });
        assert.match(said, /Research Report: python \(snake\)/);
    });
}

if (absent) {
    test('the whole file', { skip: absent }, () => {});
} else {
    suite((berth) => {
        for (const [era, transport] of [['modern', 'http'], ['modern', 'stdio'], ['legacy', 'http'], ['legacy', 'stdio']]) {
            test(`server-everything, ${era} client over ${transport}`, { timeout: 200_000 }, async (t) => {
                assert.equal((await settled(berth(), 'everything')).state, 'ready');
                const client = await askable(berth(), transport, era, answers);
                try {
                    await all(t, client, `${era}-${transport}`, berth());
                } finally {
                    await client.close();
                }
            });
        }

        test('a tool that runs only as a task, as a task of the client\'s own', { timeout: 100_000 }, async () => {
            await settled(berth(), 'everything');
            const http = new HttpClient(berth());
            const capabilities = { elicitation: { form: {} }, extensions: { 'io.modelcontextprotocol/tasks': {} } };
            let id = 0;
            const ask = async (method, params, name) => {
                const _meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': capabilities };
                const { messages } = await http.post(JSON.stringify({ jsonrpc: '2.0', id: ++id, method, params: { ...params, _meta } }),
                    { 'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': method, 'Mcp-Name': name });
                const { result, error } = messages.find((message) => message.id === id);
                assert.ok(result, JSON.stringify(error));
                return result;
            };
            const name = 'everything__simulate-research-query';
            const { resultType, taskId } = await ask('tools/call', { name, arguments: { topic: 'python', ambiguous: true } }, name);
            assert.equal(resultType, 'task');
            const reaches = (status) => until(status, async () => {
                const task = await ask('tasks/get', { taskId }, taskId);
                assert.ok([status, 'working', 'input_required'].includes(task.status), JSON.stringify(task));
                return task.status === status && task;
            });
            const [[key, question]] = Object.entries((await reaches('input_required')).inputRequests);
            assert.equal(question.method, 'elicitation/create');
            await ask('tasks/update', { taskId, inputResponses: { [key]: answers['elicitation/create'](question.params) } }, taskId);
            const { result } = await reaches('completed');
            assert.match(result.content[0].text, /Research Report: python \(snake\)/);
            http.close();
        });
    }, '', { everything: everything() });
}
