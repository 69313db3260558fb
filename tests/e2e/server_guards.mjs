// What berth holds between community servers and everybody else: the limits of an entry, the audit trail, secrets that are
// nowhere but in their server, and neighbours that go on as if a bad server were not there.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { askable, settled, state, until } from './lib/community.mjs';
import { suite } from './lib/suite.mjs';
import { HttpClient } from './lib/wire.mjs';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures');
const random = () => Math.random().toString(36).slice(2);
// One that JSON has to escape, one of several lines, as keys are, and two of servers that sleep on disk: of these, one is an
// argument, from a file.
const secrets = { leaky: `s3cret "of" leaky\\${random()}${random()}`, key: `-----BEGIN KEY-----\n${random()}${random()}\n${random()}${random()}\n-----END KEY-----`,
    sleeper: `dr3am-${random()}${random()}`, argued: `sa1d-${random()}${random()}` };
const kept = mkdtempSync(join(tmpdir(), 'berth-secret-'));
writeFileSync(join(kept, 'argued'), `${secrets.argued}\n`, { mode: 0o600 });
after(() => rmSync(kept, { recursive: true }));
const asleep = { idle: 'hibernate', idleTimeoutMs: 2000 };
const entry = (script, args, more) => ({
    command: 'node', args: [join(fixtures, script), ...args], callTimeoutMs: 5000, restartDelay: 50, maxRestarts: 0, ...more,
    sandbox: { filesystem: { allowRead: [fixtures] }, memoryMb: 256 },
});
const leaky = (more) => entry('leaky_server.mjs', [], more);
const bad = ['crash', 'hang', 'lie', 'garbage', 'flood'];
const servers = {
    ...Object.fromEntries(Object.entries(secrets).map(([name, secret]) => [name,
        leaky({ env: { API_TOKEN: secret }, ...name === 'sleeper' && asleep })])),
    argued: entry('leaky_server.mjs', [`\${file:${join(kept, 'argued')}}`], asleep),
    few: leaky({ env: { API_TOKEN: 'nothing secret' }, maxConcurrentCalls: 2 }),
    seldom: leaky({ env: { API_TOKEN: 'nothing secret' }, callsPerMinute: 3 }),
    small: leaky({ env: { API_TOKEN: 'nothing secret' }, maxResultKb: 4 }),
    good: entry('bad_server.mjs', ['good']),
    ...Object.fromEntries(bad.map((habit) => [habit, entry('bad_server.mjs', [habit], { callTimeoutMs: 1500 })])),
    absent: { command: 'no-such-program', restartDelay: 50, maxRestarts: 0 },
    dials: {
        command: 'sh', args: ['-c', 'for n in 1 2 3 4 5 6 7 8 9; do curl -s "https://host$n.example.com/"; done; curl -s https://registry.npmjs.org/; exit 3'],
        restartDelay: 50, maxRestarts: 1, sandbox: { network: { allowedDomains: ['allowed.example.com'] }, memoryMb: 256 },
    },
};

/** Every file of the data directory but servers.json: also of the servers' volumes, which are mounted here while they run (their
 *  raw images, of the same content, are left out), and of memory on disk. */
function* written(directory) {
    const gone = (look, otherwise) => {     // sandboxes come and go meanwhile
        try {
            return look();
        } catch (error) {
            if (error.code !== 'ENOENT') throw error;
            return otherwise;
        }
    };
    for (const found of gone(() => readdirSync(directory, { withFileTypes: true }), [])) {
        const path = join(directory, found.name);
        if (found.isDirectory()) {
            yield* written(path);
        } else if (found.isFile() && found.name !== 'servers.json') {
            const text = gone(() => (statSync(path).size < 256 << 20 ? readFileSync(path, 'latin1') : ''), '');
            yield [path, text];
        }
    }
}

/** What the host shows of every process: command line and environment. */
function* shown() {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        for (const part of ['cmdline', 'environ']) {
            try {
                yield [`/proc/${pid}/${part}`, readFileSync(`/proc/${pid}/${part}`, 'latin1')];
            } catch { /* it has ended */ }
        }
    }
}

suite((berth) => {
    const rows = (server) => {
        const database = new DatabaseSync(join(berth().data, 'registry.sqlite'), { readOnly: true });
        try {
            return database.prepare('SELECT what, detail FROM audit WHERE workspace = ? ORDER BY id').all(`servers/${server}`)
                .map(({ what, detail }) => ({ what, ...JSON.parse(detail) }));
        } finally {
            database.close();
        }
    };

    test('limits of an entry', { timeout: 120_000 }, async (t) => {
        const client = new HttpClient(berth());
        for (const name of ['few', 'seldom', 'small']) assert.equal((await settled(berth(), name)).state, 'ready');
        await t.test('maxConcurrentCalls: further ones wait, and are answered', async () => {
            const answers = await Promise.all(Array.from({ length: 7 }, () => client.call('few__hold', { ms: 150 })));
            for (const { failed, text } of answers) assert.ok(!failed && Number(text) <= 2, text);
            assert.equal(Math.max(...answers.map(({ text }) => Number(text))), 2, 'and not one after the other');
        });
        await t.test('maxConcurrentCalls: a waiting call that is given up takes no turn', async () => {
            const gone = new AbortController();
            const first = [client.call('few__hold', { ms: 1500 }), client.call('few__hold', { ms: 1500 })];
            await until('both turns are taken', async () => (await berth().tool('server_status', { server: 'few' })).in_flight === 2);
            const waiting = client.call('few__hold', { ms: 1 }, gone.signal).then(() => 'answered', () => 'given up');
            setTimeout(() => gone.abort(), 200);
            assert.equal(await waiting, 'given up');
            await Promise.all(first);
            await until('no turn is held', async () => (await berth().tool('server_status', { server: 'few' })).in_flight === 0);
            assert.ok(!(await client.call('few__hold', { ms: 1 })).failed);
        });
        await t.test('callsPerMinute: further ones are refused, and say when to come back', async () => {
            const answers = await Promise.all(Array.from({ length: 5 }, () => client.call('seldom__hold', { ms: 1 })));
            assert.equal(answers.filter(({ failed }) => !failed).length, 3);
            for (const { failed, text } of answers) if (failed) assert.match(text, /3 calls a minute \(callsPerMinute\); try again/);
            const refused = (await until('the refusals are in the audit trail', () => {
                const found = rows('seldom').filter((row) => row.failed);
                return found.length === 2 && found;
            }));
            assert.match(refused[0].failed, /callsPerMinute/);
        });
        await t.test('maxResultKb: a larger one is refused with its size', async () => {
            assert.ok(!(await client.call('small__large', { bytes: 3000 })).failed);
            const { failed, text } = await client.call('small__large', { bytes: 5000 });
            assert.ok(failed);
            assert.match(text, /answered with 5\d\d\d bytes, more than maxResultKb \(4 KiB\)/);
        });
        client.close();
    });

    test('an audit line for each call: who, what, the shape and hash of arguments, size and time', async () => {
        const client = new HttpClient(berth());
        await settled(berth(), 'good');
        const marker = `argument-${random()}`, args = { b: { deep: marker }, text: marker };
        assert.equal((await client.call('good__echo', args)).text, marker);
        assert.ok((await client.call('crash__misbehave', { text: marker })).failed);
        const [row] = await until('the line is written', () => {
            const found = rows('good').filter((one) => one.tool === 'echo' && one.arguments.b);
            return found.length > 0 && found;
        });
        assert.equal(row.what, 'tool call');
        assert.ok(row.who.length > 0);
        assert.deepEqual(row.arguments, { b: 'object', text: 'string' });
        assert.equal(row.arguments_sha256, createHash('sha256').update(JSON.stringify(args)).digest('hex'));
        assert.equal(row.arguments_bytes, JSON.stringify(args).length);
        assert.ok(row.ms >= 0 && row.result_bytes > 0, JSON.stringify(row));
        const [failed] = await until('the failure is written', () => {
            const found = rows('crash').filter((one) => one.failed && one.tool === 'misbehave');
            return found.length > 0 && found;
        });
        assert.match(failed.failed, /ended/);
        const { last_calls } = await berth().tool('server_status', { server: 'good' });
        assert.ok(last_calls.length <= 10);
        assert.ok(last_calls.some(({ tool, who, ms, arguments: shape }) => tool === 'echo' && who === row.who && ms >= 0 && shape.b === 'object'));
        assert.ok(!JSON.stringify(last_calls).includes(marker));
        await until('the end of the server is written', () => rows('crash').some((one) => one.what === 'server ended' && /exited with code 7/.test(one.reason)));
        for (const [path, text] of written(berth().data)) assert.ok(!text.includes(marker), `the argument itself is in ${path}`);
        client.close();
    });

    test('a start that fails names the last hosts that it was not let to', async () => {
        const { reason } = await until('it has given up', async () => {
            const now = await state(berth(), 'dials');
            return now?.state === 'failed' && now;
        });
        assert.match(reason, /exited with code 3.*it tried host3\.example\.com:443, .*host9\.example\.com:443 and registry\.npmjs\.org:443, which are not allowed: add what it needs of them to sandbox\.network\.allowedDomains/);
        assert.ok(!reason.includes('host2.'), 'the last few');
        const { refused } = await berth().tool('server_status', { server: 'dials' });
        assert.equal(refused.length, 8);
        assert.deepEqual(refused.at(-1), { destination: 'registry.npmjs.org:443', why: 'not in sandbox.network.allowedDomains' });
    });

    test('secrets are nowhere but in their server', { timeout: 120_000 }, async (t) => {
        const heard = [];
        const hear = (where, value) => heard.push([where, typeof value === 'string' ? value : JSON.stringify(value)]);
        const sleepers = ['sleeper', 'argued'];
        for (const one of sleepers) await berth().tool('call_tool', { tool: `${one}__hold`, arguments: { ms: 1 } });    // they have gone to sleep meanwhile
        for (const server of Object.keys(secrets).reverse()) assert.equal((await settled(berth(), server)).state, 'ready');
        for (const era of ['modern', 'legacy']) {
            const asked = (params) => { hear('a question', params); return { action: 'accept', content: {} }; };
            const client = await askable(berth(), 'http', era, { 'elicitation/create': asked });
            const { sdk } = client;
            const keep = async (where, promise) => hear(`${era}: ${where}`, await promise.catch((error) => ({ message: error.message, data: error.data })));
            client.on('notifications/message', ({ params }) => hear('a log message', params));
            if (era === 'legacy') await sdk.setLoggingLevel('debug');
            await keep('tools', sdk.listTools());
            await keep('prompts', sdk.listPrompts());
            await keep('resources', sdk.listResources());
            await keep('templates', sdk.listResourceTemplates());
            for (const server of Object.keys(secrets)) {
                const meta = era === 'modern' ? { _meta: { 'io.modelcontextprotocol/logLevel': 'debug' } } : {};
                const call = (tool) => {
                    const params = { name: `${server}__${tool}`, arguments: {}, ...meta };
                    const options = { onprogress: (one) => hear('progress', one) };
                    return era === 'modern' ? sdk.callTool(params, options) : sdk.callTool(params, undefined, options);
                };
                for (const tool of ['say', 'fail', 'ask']) await keep(`${server} ${tool}`, call(tool));
                await keep('prompt', sdk.getPrompt({ name: `${server}__prompt` }));
                await keep('resource', sdk.readResource({ uri: 'leaky://one' }));
                await keep('completion', sdk.complete({ ref: { type: 'ref/prompt', name: `${server}__prompt` }, argument: { name: 'a', value: '' } }));
            }
            await client.close();
        }
        assert.ok(heard.some(([where]) => where === 'a question') && heard.some(([where]) => where === 'a log message') &&
            heard.some(([where]) => where === 'progress'), 'every way was tried');
        for (const server of Object.keys(secrets)) {
            hear('status', await berth().tool('server_status', { server }));
            hear('server_logs', await berth().tool('server_logs', { server, lines: 2000 }));
            await berth().tool('server_restart', { server });
        }
        hear('servers_list', await berth().tool('servers_list'));
        hear('search', await berth().tool('search_tools', { query: 'says secret', limit: 50 }));
        hear('what another server sees', await new HttpClient(berth()).call('good__look').then(({ text }) => text));
        const headers = { Authorization: `Bearer ${berth().token}` };
        for (const path of ['metrics', 'healthz', 'readyz']) {
            hear(path, await (await fetch(`http://127.0.0.1:${berth().port}/${path}`, { headers })).text());
        }
        hear('the log', berth().log);
        const memory = (path) => path.includes('/servers/images/') && path.endsWith('.enc');
        let files = 0, bytes = 0;
        const look = (when) => {
            const before = heard.length;
            for (const [path, text] of [...written(berth().data), ...shown()]) hear(`${path} ${when}`, text);
            files += heard.length - before;
            bytes += heard.slice(before).reduce((sum, [, text]) => sum + text.length, 0);
            return heard.slice(before);
        };
        for (const server of sleepers) {
            await until('it sleeps', async () => (await berth().tool('server_status', { server })).memory === 'on disk');
        }
        const dreams = look('while two sleep').filter(([where]) => memory(where.split(' ', 1)[0]));
        assert.ok(dreams.reduce((sum, [, text]) => sum + text.length, 0) > 1 << 20, 'their memory is on disk');
        for (const one of sleepers) await berth().tool('call_tool', { tool: `${one}__hold`, arguments: { ms: 1 } });
        look('after its wake');
        t.diagnostic(`${heard.length - files} answers and messages, ${files} files and processes of ${bytes} bytes`);
        const shapes = (secret) => [secret, JSON.stringify(secret).slice(1, -1), JSON.stringify(JSON.stringify(secret).slice(1, -1)).slice(1, -1),
            encodeURIComponent(secret), ...secret.split('\n').filter((line) => line.length > 12 && !line.startsWith('-----')),
            ...[0, 1, 2].map((n) => Buffer.from('x'.repeat(n) + secret).toString('base64').slice(4, 28))];
        for (const [server, secret] of Object.entries(secrets)) {
            for (const shape of shapes(secret)) {
                const at = heard.find(([, text]) => text.includes(shape));
                assert.equal(at, undefined, `the secret of ${server}: ${at?.[0]} ${at?.[1].slice(Math.max(0, at[1].indexOf(shape) - 200), at[1].indexOf(shape) + 100)}`);
            }
        }
    });

    test('neighbours of bad servers go on: every call of theirs is answered', { timeout: 120_000 }, async (t) => {
        const client = new HttpClient(berth());
        for (const habit of bad) await settled(berth(), habit);
        const load = async (more) => {
            const times = [];
            const one = async () => {
                do {
                    const text = random(), began = performance.now();
                    const answer = await client.call('good__echo', { text });
                    assert.ok(!answer.failed && answer.text === text, answer.text);
                    times.push(performance.now() - began);
                } while (more(times.length));
            };
            await Promise.all([one(), one()]);
            times.sort((a, b) => a - b);
            const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))].toFixed(1);
            return `${times.length} calls, p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`;
        };
        const acts = async (habit) => {
            for (let round = 0; round < 2; round++) {
                const answer = await client.call(`${habit}__misbehave`).catch((error) => ({ failed: true, text: error.message }));
                assert.ok(answer.failed, habit);
                if (habit === 'absent') continue;
                await until(`${habit} is back`, async () => !(await client.call(`${habit}__echo`, { text: 'x' }).catch(() => ({ failed: true }))).failed);
            }
        };
        t.diagnostic(`alone: ${await load((count) => count < 300)}`);
        for (const habit of [...bad, 'absent']) {
            let over = false;
            const acting = acts(habit).finally(() => { over = true; });
            t.diagnostic(`beside ${habit}: ${await load((count) => !over || count < 100)}`);
            await acting;
        }
        const { starts, failed_calls } = await berth().tool('server_status', { server: 'good' });
        assert.equal(starts, 1, 'it was never restarted');
        assert.equal(failed_calls, 0);
        assert.match((await state(berth(), 'absent')).state, /backing_off|failed|starting/);
        client.close();
    });
}, '', servers);
