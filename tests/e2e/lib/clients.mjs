// The official clients behind one small face: { tools(), call(name, arguments), era, close() }. `call` gives
// { structured, text, failed, content }, whatever the protocol revision and transport below. The SDKs' also have `sdk`, the client
// itself, and on(method, handler) for notifications; their `call` takes request options.
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

// The packages stand where scripts/setup-suites put them, not beside the tests.
const tools = process.env.BERTH_NODE_TOOLS ?? 'build/node';
const need = createRequire(join(tools, 'package.json'));
const run = promisify(execFile);

const me = { name: 'berth-e2e', version: '1' };
const limit = { timeout: 120_000 };

function result(answer) {
    const texts = (answer.content ?? []).filter((block) => block.type === 'text').map((block) => block.text);
    return { structured: answer.structuredContent, text: texts.join('\n'), failed: answer.isError === true, content: answer.content ?? [] };
}

function face(client, era, call, on) {
    return {
        era,
        sdk: client,
        on,
        tools: async () => (await client.listTools(undefined, limit)).tools,
        call: async (name, args, options = {}) => result(await call(name, args, { ...limit, ...options })),
        close: () => client.close(),
    };
}

const bearer = (berth) => ({ requestInit: { headers: { Authorization: `Bearer ${berth.token}` } } });

/** @modelcontextprotocol/sdk, the v1 line: speaks the 2025 revisions. */
export async function v1(berth, transport, options = {}) {
    const { Client } = need('@modelcontextprotocol/sdk/client/index.js');
    const { StdioClientTransport } = need('@modelcontextprotocol/sdk/client/stdio.js');
    const { StreamableHTTPClientTransport } = need('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const client = new Client(me, options);
    const [command, ...args] = berth.stdio;
    await client.connect(transport === 'stdio'
        ? new StdioClientTransport({ command, args, stderr: 'inherit' })
        : new StreamableHTTPClientTransport(new URL(berth.url), bearer(berth)));
    const types = need('@modelcontextprotocol/sdk/types.js');
    const schemas = {
        'notifications/message': types.LoggingMessageNotificationSchema,
        'notifications/prompts/list_changed': types.PromptListChangedNotificationSchema,
        'notifications/resources/list_changed': types.ResourceListChangedNotificationSchema,
        'notifications/resources/updated': types.ResourceUpdatedNotificationSchema,
        'notifications/tools/list_changed': types.ToolListChangedNotificationSchema,
    };
    return face(client, 'legacy',
        (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
        (method, handler) => client.setNotificationHandler(schemas[method], handler));
}

/** @modelcontextprotocol/client, the v2 line; `mode` is 'legacy', 'auto' or { pin: '2026-07-28' }. */
export async function v2(berth, transport, mode, options = {}) {
    const { Client, StreamableHTTPClientTransport } = need('@modelcontextprotocol/client');
    const { StdioClientTransport } = need('@modelcontextprotocol/client/stdio');
    const client = new Client(me, { ...options, versionNegotiation: { mode } });
    const [command, ...args] = berth.stdio;
    await client.connect(transport === 'stdio'
        ? new StdioClientTransport({ command, args, stderr: 'inherit' })
        : new StreamableHTTPClientTransport(new URL(berth.url), bearer(berth)));
    return face(client, client.getProtocolEra(),
        (name, args, options) => client.callTool({ name, arguments: args }, options),
        (method, handler) => client.setNotificationHandler(method, handler));
}

/** The inspector's command line: a new process and a new connection for every call. */
export function inspector(berth, transport, era) {
    const cli = join(dirname(need.resolve('@modelcontextprotocol/inspector/package.json')),
        'clients/launcher/build/index.js');
    const target = transport === 'stdio'
        ? ['--', ...berth.stdio]
        : ['--server-url', berth.url, '--transport', 'http', '--header', `Authorization: Bearer ${berth.token}`];
    const ask = async (...method) => {
        const options = ['--format', 'json', '--quiet', '--stored-auth-only', '--protocol-era', era, ...method];
        const args = [cli, '--cli', ...(transport === 'stdio' ? [...options, ...target] : [...target, ...options])];
        // A result with isError ends it with a status of its own, and the result stands on stdout all the same.
        const { stdout, stderr } = await run(process.execPath, args,
            { timeout: 120_000, maxBuffer: 16 << 20, env: { ...process.env, HOME: berth.directory } })
            .catch((error) => error);
        try {
            const answer = JSON.parse(stdout);
            return answer.result ?? answer;
        } catch {
            throw new Error(`the inspector said: ${stdout}${stderr}`);
        }
    };
    return {
        era,
        tools: async () => (await ask('--method', 'tools/list')).tools,
        call: async (name, args) => result(
            await ask('--method', 'tools/call', '--tool-name', name, '--tool-args-json', JSON.stringify(args))),
        close: async () => {},
    };
}
