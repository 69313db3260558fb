// From a Claude Desktop file to an answer: `berth servers import`, what it says is missing, that written, and a call of a tool of an
// npx server. After that it starts without asking anybody. What cannot be had fails soon, and says in one line what to do.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { binary } from './lib/berth.mjs';
import { settled, state, until } from './lib/community.mjs';
import { NpmRegistry } from './lib/npm_registry.mjs';
import { suite } from './lib/suite.mjs';

const registry = await NpmRegistry.start();
after(() => registry.stop());
const files = mkdtempSync(join(tmpdir(), 'berth-newcomer-'));
after(() => rmSync(files, { recursive: true }));

/** A server with one tool, of a package with dependencies: as npm's are. */
const program = `#!/usr/bin/env node
import { createInterface } from 'node:readline';
import words from 'greeting-words';
if (process.env.NEEDS_KEY) { console.error('Error: GREETER_KEY is not set'); process.exit(3); }
const answers = {
    initialize: { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'greeter', version: '1' } },
    'tools/list': { tools: [{ name: 'greet', description: 'Greets.', inputSchema: { type: 'object' } }] },
    'tools/call': { content: [{ type: 'text', text: words }] },
};
createInterface({ input: process.stdin }).on('line', (line) => {
    const { id, method } = JSON.parse(line);
    if (id === undefined) return;
    const result = answers[method];
    console.log(JSON.stringify({ jsonrpc: '2.0', id, ...result ? { result } : { error: { code: -32601, message: 'no such method' } } }));
});
`;
const crowd = Array.from({ length: 80 }, (_, n) => `one-of-many-${n}`);
const library = (name, text) => registry.publish({ name, version: '1.0.0', type: 'module', main: 'index.js' }, { 'index.js': text });
library('greeting-words', 'export default "hello, newcomer";');
for (const name of crowd) library(name, '');
const server = (name, version, dependencies = []) => registry.publish({ name, version, type: 'module', bin: { [name.split('/').at(-1)]: 'index.js' },
    dependencies: Object.fromEntries(['greeting-words', ...dependencies].map((one) => [one, '^1.0.0'])) }, { 'index.js': program });
server('@newcomer/greeter', '1.0.0');
server('@newcomer/crowded', '1.0.0', crowd);

const env = { npm_config_registry: registry.url };
const allowed = { sandbox: { network: { allowedDomains: [registry.host] } } };
const npx = (spec, more = {}) => ({ command: 'npx', args: ['-y', spec], env, restartDelay: 100, ...more });
/** As people have it, with what else stands in the file. */
const desktop = {
    mcpServers: {
        greeter: npx('@newcomer/greeter@1.0.0'),
        python: { command: 'uvx', args: ['mcp-server-fetch'] },
        brewed: { command: '/opt/homebrew/bin/npx', args: ['@newcomer/greeter'] },
    },
    globalShortcut: 'Ctrl+Space', preferences: { menuBarEnabled: false },
};
const desktopFile = join(files, 'claude_desktop_config.json');
writeFileSync(desktopFile, JSON.stringify(desktop, null, 2));

/** What a message says that has to be written, as it says it. */
const written = (message) => JSON.parse(`{${/write ("sandbox": \{.*?\}\}) into its entry/.exec(message)?.[1] ?? assert.fail(message)}}`);

/** The registry that npm uses on this machine, where it answers: its address, and the certificates that its own name needs. */
async function publicRegistry() {
    const url = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).stdout?.trim() || 'https://registry.npmjs.org/';
    const answer = await fetch(`${url}greeting-words`, { method: 'HEAD', signal: AbortSignal.timeout(10_000) }).catch(() => undefined);
    if (!answer) return undefined;
    const { hostname, host } = new URL(url);
    const given = process.env.NODE_EXTRA_CA_CERTS, certificates = join(files, 'certificates.pem');
    if (given) copyFileSync(given, certificates);
    const { address, family } = await lookup(hostname);
    return { host, network: `${address}/${family === 6 ? 128 : 32}`,
        entry: { env: { npm_config_registry: url, ...given && { NODE_EXTRA_CA_CERTS: certificates, npm_config_cafile: certificates } },
            sandbox: { network: { allowedDomains: [host] }, ...given && { filesystem: { allowRead: [certificates] } } } } };
}
const outside = await publicRegistry();
const networks = [registry.network, ...outside ? [outside.network] : []];

suite((berth) => {
    const servers = (verb, ...args) => spawnSync(binary, ['servers', verb, ...args, '--data', berth().data], { encoding: 'utf8' });
    const entries = () => JSON.parse(readFileSync(join(berth().data, 'servers.json'), 'utf8')).mcpServers;
    const change = (name, entry) => berth().configure({ ...entries(), [name]: entry });
    const status = (name) => berth().tool('server_status', { server: name });
    const logs = async (name) => (await berth().tool('server_logs', { server: name, lines: 500 })).lines;
    const greet = (name) => berth().tool('call_tool', { tool: `${name}__greet`, arguments: {} });
    const ready = async (name) => {
        const now = await until(`${name} has started`, async () => {
            const one = await state(berth(), name);
            return ['ready', 'backing_off', 'failed'].includes(one?.state) && one;
        });
        assert.equal(now.state, 'ready', `${now.reason}\n${(await logs(name)).join('\n')}`);
    };
    const failed = async (name) => until(`${name} has failed`, async () => {
        const one = await state(berth(), name);
        return ['backing_off', 'failed'].includes(one?.state) && one;
    });
    const restarted = async (name) => (await berth().tool('server_restart', { server: name })).state;

    test('an import says of each entry what it needs', () => {
        const { status: code, stdout, stderr } = servers('import', desktopFile);
        assert.equal(code, 0, stderr);
        assert.match(stdout, /greeter: added to/);
        assert.ok(stdout.includes(`greeter: npx downloads packages, and this server may not reach ${registry.host}: write "sandbox"`), stdout);
        assert.match(stdout, /python: uvx is not in the template "base"/);
        assert.match(stdout, /python: uvx downloads packages, and this server may not reach pypi\.org or files\.pythonhosted\.org/);
        assert.match(stdout, /brewed: \/opt\/homebrew\/bin\/npx is not there in its sandbox: write "command": "npx"/);
        assert.equal(servers('check').stdout.match(/may not reach/g).length, 3);
    });

    test('an import before the first start makes the data directory, private', () => {
        const data = join(files, 'data');
        const { status: code, stderr } = spawnSync(binary, ['servers', 'import', desktopFile, '--data', data], { encoding: 'utf8' });
        assert.equal(code, 0, stderr);
        assert.equal(statSync(data).mode & 0o777, 0o700);
    });

    test('without a network it fails without waiting for one, and says what to write', async () => {
        const { reason, next_step: next } = await failed('greeter');
        assert.match(reason, /@newcomer\/greeter@1\.0\.0 is not in its volume yet; npx downloads packages/);
        assert.ok(next.includes(registry.host), next);
        assert.deepEqual(written(reason), allowed);
        assert.deepEqual(registry.asked, []);
    });

    test('a program that the template does not have is named', async () => {
        assert.match((await failed('python')).reason, /uvx is not in the template "base": name one that has it in sandbox\.template/);
        assert.match((await failed('brewed')).reason, /write "command": "npx", which is the template's own/);
    });

    test('once that is written, it answers', async () => {
        const entry = entries().greeter;
        change('greeter', { ...entry, ...written((await failed('greeter')).reason) });
        await until('it is asked for', () => registry.asked.length > 0);
        await ready('greeter');
        assert.match(await greet('greeter'), /hello, newcomer/);
        assert.ok(registry.asked.length >= 4, 'two packages, each with what is known of it and its bytes');
        assert.doesNotMatch(servers('check').stdout, /greeter: npx/);
    });

    test('an exact version starts again without the registry', async () => {
        registry.asked.length = 0;
        for (const broken of [0, Infinity]) {
            registry.failing = broken;
            assert.equal(await restarted('greeter'), 'ready');
            assert.match(await greet('greeter'), /hello/);
        }
        registry.failing = 0;
        assert.deepEqual(registry.asked, []);
        change('greeter', npx('@newcomer/greeter@1.0.0'));
        await until('its network is gone', async () => (await logs('greeter')).filter((line) => /started in/.test(line)).length === 1);
        assert.match(await greet('greeter'), /hello/, 'and without any network');
        assert.deepEqual(registry.asked, []);
    });

    test('any other version is asked for, and is the one of the volume when nobody answers', { timeout: 240_000 }, async () => {
        change('latest', npx('@newcomer/greeter', allowed));
        await ready('latest');
        registry.asked.length = 0;
        assert.equal(await restarted('latest'), 'ready');
        assert.ok(registry.asked.includes('/@newcomer/greeter'));
        registry.failing = Infinity;
        const again = await restarted('latest');
        registry.failing = 0;
        assert.equal(again, 'ready', (await logs('latest')).join('\n'));
    });

    test('a first start whose download breaks off is tried once more', { timeout: 240_000 }, async () => {
        registry.failing = 3;       // npm's own attempts
        change('broken', npx('@newcomer/greeter@1.0.0', allowed));
        await ready('broken');
        assert.equal((await status('broken')).failures, 0);
        assert.ok((await logs('broken')).some((line) => /once more, from its registry/.test(line)));
    });

    test('a package of many others, which npm fetches all at once', { timeout: 240_000 }, async () => {
        registry.asked.length = 0;
        registry.delay = 20;
        change('crowded', npx('@newcomer/crowded@1.0.0', allowed));
        await ready('crowded');
        registry.delay = 0;
        for (const name of crowd) assert.ok(registry.asked.includes(`/${name}/-/${name}-1.0.0.tgz`), name);
        assert.deepEqual((await status('crowded')).refused, undefined);
    });

    test('what the registry does not have is said, and not tried again', async () => {
        change('absent', npx('@newcomer/gretter', { ...allowed, maxRestarts: 1 }));
        assert.match((await failed('absent')).reason, /the registry has no @newcomer\/gretter/);
        assert.ok(!(await logs('absent')).some((line) => /once more/.test(line)));
        change('later', npx('@newcomer/greeter@9.9.9', { ...allowed, maxRestarts: 1 }));
        assert.match((await failed('later')).reason, /the registry has no such version of @newcomer\/greeter@9\.9\.9/);
    });

    test('a registry that is not among the allowed hosts is named, and what to add', async () => {
        change('elsewhere', npx('@newcomer/greeter@1.0.0', { sandbox: { network: { allowedDomains: ['api.example.com'] } }, maxRestarts: 1 }));
        const { reason } = await failed('elsewhere');
        assert.ok(reason.includes(`may not reach ${registry.host}: add "${registry.host}" to sandbox.network.allowedDomains of its entry`), reason);
        assert.equal(reason.match(/allowedDomains/g).length, 1, 'said once');
    });

    test('a server that ends by itself is not taken for one that could not be fetched', async () => {
        change('keyless', npx('@newcomer/greeter@1.0.0', { ...allowed, env: { ...env, NEEDS_KEY: '1' }, maxRestarts: 1 }));
        const { reason } = await failed('keyless');
        assert.match(reason, /exited with code 3/);
        assert.doesNotMatch(reason, /download|fetch|registry/);
        assert.ok((await logs('keyless')).includes('Error: GREETER_KEY is not set'));
    });

    test('a well-known server, from the registry that npm uses here', { skip: outside ? false : 'npm reaches no registry from here', timeout: 300_000 }, async (t) => {
        const args = ['-y', '@modelcontextprotocol/server-everything@2026.8.31'];
        change('everything', { command: 'npx', args, ...outside.entry });
        // It may take longer than anything else here.
        await settled(berth(), 'everything').catch(() => settled(berth(), 'everything')).catch(() => settled(berth(), 'everything'));
        await ready('everything');
        assert.match(await berth().tool('call_tool', { tool: 'everything__echo', arguments: { message: 'here' } }), /here/);
        t.diagnostic((await logs('everything')).find((line) => /started in/.test(line)));
        assert.equal(await restarted('everything'), 'ready');
    });
}, `network:\n    insecure_private_addresses: [${networks.map((one) => `"${one}"`).join(', ')}]\n`);
