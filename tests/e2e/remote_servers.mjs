// Servers that run elsewhere and are reached by URL: Streamable HTTP of both eras, and the older HTTP+SSE, asked for or
// found. And the one kind that runs on this machine outside any sandbox.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, request as forward } from 'node:http';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { v1, v2 } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';

const tools = resolve(process.env.BERTH_NODE_TOOLS ?? 'build/node');
const everything = join(tools, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const key = 'key-of-the-test-0123456789';

const listening = async (server) => {
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    return server.address().port;
};
const ports = { streamable: 0, sse: 0 };
for (const name of Object.keys(ports)) {
    const probe = createServer();
    ports[name] = await listening(probe);
    await new Promise((done) => probe.close(done));
}

/** The npm server in one of its HTTP modes. */
async function run(mode, port) {
    const child = spawn(process.execPath, [everything, mode],
        { env: { ...process.env, PORT: String(port) }, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { said = (said + text).slice(-4000); });
    const ended = new Promise((done) => { child.once('exit', done); });
    for (let tries = 0; !/running on port|listening on port/.test(said); tries++) {
        if (tries > 600 || child.exitCode !== null) throw new Error(`${mode} does not listen: ${said}`);
        await pause(50);
    }
    return { stop: async () => { child.kill('SIGKILL'); await ended; } };
}

/** In front of another server: lets nothing through without the key. */
const gate = createServer((incoming, outgoing) => {
    if (incoming.headers['x-api-key'] !== key) {
        outgoing.writeHead(401).end();
        return;
    }
    const { method, url, headers } = incoming;
    const passed = forward({ host: '127.0.0.1', port: ports.streamable, method, path: url, headers }, (answer) => {
        outgoing.writeHead(answer.statusCode, answer.headers);
        outgoing.flushHeaders();
        answer.pipe(outgoing);
    });
    passed.on('error', () => outgoing.destroy());
    outgoing.on('close', () => passed.destroy());
    incoming.pipe(passed);
});

/** A server of the 2026-07-28 revision and no other, on the official SDK. */
async function modern() {
    const need = createRequire(`${tools}/package.json`);
    const { createMcpHandler, McpServer } = need('@modelcontextprotocol/server');
    const { toNodeHandler } = need('@modelcontextprotocol/node');
    const { z } = need('zod');
    const handler = createMcpHandler(() => {
        const server = new McpServer({ name: 'sums', version: '1' });
        server.registerTool('add', { description: 'Adds.', inputSchema: z.object({ a: z.number(), b: z.number() }) },
            ({ a, b }) => ({ content: [{ type: 'text', text: String(a + b) }] }));
        server.registerPrompt('hello', { description: 'Says hello.' },
            () => ({ messages: [{ role: 'user', content: { type: 'text', text: 'hello' } }] }));
        return server;
    }, { legacy: 'reject' });
    return createServer(toNodeHandler(handler));
}

if (!existsSync(everything)) {
    test('the whole file', { skip: 'the servers are not installed (scripts/setup --suites)' }, () => {});
} else {
    let streamable = await run('streamableHttp', ports.streamable);
    const sse = await run('sse', ports.sse);
    const sums = await modern();
    const at = { gate: await listening(gate), sums: await listening(sums) };
    after(async () => {
        await streamable.stop();
        await sse.stop();
        for (const server of [gate, sums]) {
            server.closeAllConnections();
            await new Promise((done) => server.close(done));
        }
    });
    const local = (port, path) => `http://127.0.0.1:${port}${path}`;
    suite((berth) => {
        const status = (name) => berth().tool('server_status', { server: name });
        const until = async (name, states) => {
            for (let tries = 0; tries < 600; tries++) {
                const now = await status(name);
                if (states.test(now.state)) return now;
                await pause(100);
            }
            assert.fail(`${name}: ${JSON.stringify(await status(name))}\n${berth().log}`);
        };
        const text = async (tool, args) => berth().tool('call_tool', { tool, arguments: args });

        test('each is reached in its own way', async () => {
            assert.match((await until('streamable', /ready|degraded/)).revision, /^2025-/);
            assert.match((await until('sse', /ready|degraded/)).revision, /^202[45]-/);
            assert.match((await until('found', /ready|degraded/)).revision, /^202[45]-/);
            assert.equal((await until('modern', /ready/)).revision, '2026-07-28');
            assert.equal((await status('modern')).isolation, 'remote');
            for (const name of ['streamable', 'sse', 'found']) {
                assert.match(JSON.stringify(await text(`${name}__echo`, { message: 'hello' })), /hello/);
            }
            assert.equal(String(await text('modern__add', { a: 2, b: 3 })).trim(), '5');
        });

        test('a server that wants what was not given says so, and what was given is in no log', async () => {
            const refused = await until('refused', /backing_off|failed/);
            assert.match(refused.reason, /401: it wants credentials/);
            assert.ok(!berth().log.includes(key));
            assert.ok(!JSON.stringify(await berth().tool('server_logs', { server: 'streamable' })).includes(key));
        });

        for (const [era, connect] of [['legacy', (it) => v1(it, 'http')], ['modern', (it) => v2(it, 'http', { pin: '2026-07-28' })]]) {
            test(`progress, prompts and resources come through to a ${era} client`, async () => {
                const client = await connect(berth());
                try {
                    const names = (await client.tools()).map((tool) => tool.name);
                    for (const server of ['streamable', 'sse']) {
                        const long = names.find((name) => name.startsWith(`${server}__trigger-long`));
                        const heard = [];
                        const done = await client.call(long, { duration: 1, steps: 3 }, { onprogress: (one) => heard.push(one.progress) });
                        assert.ok(!done.failed, done.text);
                        assert.ok(heard.length >= 2, `${server}: ${heard}`);
                    }
                    const { prompts } = await client.sdk.listPrompts();
                    assert.ok(prompts.some((prompt) => prompt.name === 'modern__hello'));
                    assert.ok((await client.sdk.getPrompt({ name: 'modern__hello' })).messages.length === 1);
                } finally {
                    await client.close();
                }
            });
        }

        test('a server that was away is used again once it is back', async () => {
            await streamable.stop();
            await assert.rejects(text('streamable__echo', { message: 'x' }));
            streamable = await run('streamableHttp', ports.streamable);
            await berth().tool('server_restart', { server: 'streamable' });
            assert.match(JSON.stringify(await text('streamable__echo', { message: 'again' })), /again/);
            // Its sessions are gone, which the next call meets and mends by itself.
            await streamable.stop();
            streamable = await run('streamableHttp', ports.streamable);
            assert.match(JSON.stringify(await text('streamable__echo', { message: 'anew' })), /anew/);
        });

        test('outside any sandbox is said in the state, and ends with its entry', async () => {
            const outside = await until('outside', /ready|degraded/);
            assert.equal(outside.isolation, 'host-insecure');
            const pid = Number(/process (\d+)/.exec(outside.where)[1]);
            assert.ok(existsSync(`/proc/${pid}`));
            assert.match(JSON.stringify(await text('outside__echo', { message: 'near' })), /near/);
            assert.match(berth().log, /server outside runs outside any sandbox/);
            berth().configure({});
            for (let tries = 0; tries < 300 && existsSync(`/proc/${pid}`); tries++) await pause(100);
            assert.ok(!existsSync(`/proc/${pid}`));
        });
    }, '', {
        streamable: { url: local(at.gate, '/mcp'), headers: { 'X-Api-Key': key } },
        refused: { url: local(at.gate, '/mcp'), headers: { 'X-Api-Key': 'another-key-0123' }, oauth: false },
        sse: { type: 'sse', url: local(ports.sse, '/sse') },
        found: { url: local(ports.sse, '/sse') },
        modern: { type: 'http', url: local(at.sums, '/mcp') },
        outside: { command: process.execPath, args: [everything], isolation: 'host-insecure' },
    });
}
