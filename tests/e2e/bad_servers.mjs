// Community servers that flood, hang, lie, crash, write garbage, change their tools, disguise them, or never start: what
// each does is its own failure, the others go on answering, and nobody learns another one's secret.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { v2 } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const habits = ['good', 'crash', 'hang', 'lie', 'garbage', 'flood', 'change', 'disguise'];
const secret = Object.fromEntries(habits.map((habit) => [habit, `s3cret-of-${habit}-${Math.random().toString(36).slice(2)}`]));

const entry = (habit) => ({
    command: 'node', args: [join(fixtures, 'bad_server.mjs'), habit], env: { API_TOKEN: secret[habit] },
    callTimeoutMs: 3000, restartDelay: 100, maxRestarts: 0,
    sandbox: { filesystem: { allowRead: [fixtures] }, memoryMb: 256 },
});
const outside = mkdtempSync(join(tmpdir(), 'berth-rotated-'));
after(() => rmSync(outside, { recursive: true }));
const rotate = (round) => {
    writeFileSync(join(outside, 'secret'), `${round}\n`, { mode: 0o600 });
    writeFileSync(join(outside, 'more.env'), `MORE=${round}\n`, { mode: 0o600 });
};
rotate('a');
const configured = {
    ...Object.fromEntries(habits.map((habit) => [habit, entry(habit)])),
    rotated: { ...entry('good'), env: { ROUND: `\${file:${join(outside, 'secret')}}` }, envFile: join(outside, 'more.env') },
    keyless: { ...entry('keyless'), env: { ROUND: 'none' } },
    absent: { command: 'no-such-program', restartDelay: 100, maxRestarts: 3 },
    wrong: { command: 'node', args: 'not a list' },
};

async function until(what, check) {
    for (let tries = 0; tries < 600; tries++) {
        const found = await check();
        if (found) return found;
        await pause(100);
    }
    throw new Error(`${what}: not in a minute`);
}

/** Every byte below a directory; volumes are left out, they are the servers' own. */
function* files(directory) {
    for (const found of readdirSync(directory, { withFileTypes: true })) {
        const path = join(directory, found.name);
        if (found.isDirectory() && !['volumes', 'slots', 'mounts'].includes(found.name)) yield* files(path);
        else if (found.isFile() && statSync(path).size < 64 << 20) yield path;
    }
}

suite((berth) => {
    test('bad servers', async (t) => {
        const state = async (name) => (await berth().tool('servers_list')).servers.find((one) => one.server === name);
        const client = await v2(berth(), 'http', { pin: '2026-07-28' });
        const heard = [];
        const call = async (name, args = {}) => {
            const answer = await client.call(name, args).catch((error) => ({ failed: true, text: error.message }));
            heard.push(answer.text);
            return answer;
        };
        const goodAnswers = async (text) => assert.equal((await call('good__echo', { text })).text, text);
        try {
            await t.test('start beside each other, and those that cannot are named', async () => {
                for (const habit of habits) await until(habit, async () => (await state(habit)).state === 'ready');
                assert.match((await state('wrong')).reason, /servers\.json:\d+: wrong\.args: expected a list/);
                assert.equal((await until('absent gives up', async () => {
                    const one = await state('absent');
                    if (one.state === 'backing_off') await call('absent__x');
                    return ['backing_off', 'failed'].includes(one.state) && one;
                })).tools, 0);
                const { lines } = await berth().tool('server_logs', { server: 'absent' });
                assert.ok(lines.some((line) => /no-such-program.*not found/.test(line)), lines.join('\n'));
                await goodAnswers('at first');
            });

            await t.test('fail alone, clearly and in bounded time', async () => {
                const other = setInterval(() => {}, 1000);
                const bad = Promise.all(['crash', 'hang', 'lie', 'garbage', 'flood'].map((habit) => call(`${habit}__misbehave`)));
                let ended = false;
                bad.then(() => { ended = true; });
                let answers = 0;
                do {
                    await goodAnswers(`beside them ${answers++}`);
                } while (!ended);
                clearInterval(other);
                const [crash, hang, lie, garbage, flood] = await bad;
                for (const one of [crash, hang, lie, garbage, flood]) assert.ok(one.failed, JSON.stringify(one));
                assert.match(crash.text, /may have taken effect|ended|exit/i);
                assert.match(hang.text, /time|answer/i);
                assert.doesNotMatch(lie.text, /somebody else/);
                assert.ok(answers > 0);
            });

            await t.test('come back with the next call, which is a new one', async () => {
                for (const habit of ['crash', 'garbage', 'flood', 'hang', 'lie']) {
                    await until(`${habit} again`, async () => {
                        const answer = await call(`${habit}__echo`, { text: `again ${habit}` });
                        return !answer.failed && answer.text === `again ${habit}`;
                    });
                }
            });

            await t.test('cannot change what was approved', async () => {
                assert.equal((await call('change__misbehave')).text, 'done');
                const status = await until('the change is seen', async () => {
                    const one = await berth().tool('server_status', { server: 'change' });
                    return one.held && one;
                });
                assert.equal(status.held[0].tool, 'echo');
                assert.match(status.held[0].differences[0], /was "Echoes what it is given\.", now "Echoes\. Before/);
                assert.ok((await call('change__echo', { text: 'x' })).failed);
                assert.ok(!(await client.tools()).some((tool) => tool.name === 'change__echo'));
                const approve = (more) => berth().tool('server_approve', { server: 'change', tools: ['echo'], ...more });
                await assert.rejects(approve({}), /expected hash/, 'nothing unseen');
                assert.equal((await call('change__misbehave')).text, 'done');   // puts another one in its place
                const next = await until('the next change is seen', async () => {
                    const one = await berth().tool('server_status', { server: 'change' });
                    return one.held_hash !== status.held_hash && one;
                });
                await assert.rejects(approve({ hash: status.held_hash }), new RegExp(`something else is held back now.*${next.held_hash}`));
                assert.ok((await call('change__echo', { text: 'x' })).failed);
                assert.deepEqual((await approve({ hash: next.held_hash })).approved, ['echo']);
                assert.equal((await call('change__echo', { text: 'x' })).text, 'x');
            });

            await t.test('cannot disguise their tools', async () => {
                const tools = (await client.tools()).filter((tool) => tool.name.startsWith('disguise__'));
                for (const tool of tools) assert.match(tool.name, /^[A-Za-z0-9_-]{1,40}$/);
                assert.equal(tools.find((tool) => tool.name === 'disguise__hidden').description, 'Reads files.');
                const status = await berth().tool('server_status', { server: 'disguise' });
                assert.equal(status.invisible_characters_removed, 3);
                assert.ok(tools.filter((tool) => /^disguise__a_b/.test(tool.name)).length <= 1, 'one name, one tool');
            });

            await t.test('see themselves and nobody else', async () => {
                const seen = JSON.parse((await call('good__look')).text);
                assert.equal(seen.env.API_TOKEN, '[redacted: API_TOKEN]');
                for (const name of Object.keys(process.env)) {
                    if (!['API_TOKEN', 'PATH', 'HOME', 'LANG', 'TERM', 'USER', 'LOGNAME', 'SHELL', 'PWD', 'SHLVL', '_'].includes(name)) {
                        assert.ok(!(name in seen.env), `${name} of the host`);
                    }
                }
                assert.ok(seen.processes.length < 8, seen.processes.join('\n'));
                assert.ok(!seen.processes.some((command) => /berth serve|crash|flood/.test(command)));
            });

            await t.test('follow their file: added, changed, removed, and a bad edit is none', async () => {
                berth().configure('{ "mcpServers": { "good": ');
                await until('the bad edit is told', async () =>
                    (await berth().tool('server_status', { server: 'good' })).warnings?.some((one) => /last edit is not in force/.test(one)));
                await goodAnswers('after a bad edit');
                const before = (await berth().tool('server_status', { server: 'good' })).starts;
                const { crash, ...rest } = configured;
                berth().configure({ ...rest, late: entry('good'), hang: { ...entry('hang'), tools: { allow: ['echo'] } } });
                await until('late', async () => (await state('late'))?.state === 'ready');
                await until('crash is gone', async () => !(await state('crash')));
                assert.equal((await berth().tool('server_status', { server: 'good' })).starts, before, 'it was left alone');
                await until('fewer tools', async () => (await state('hang')).tools === 1);
                assert.equal((await call('late__echo', { text: 'late' })).text, 'late');
            });

            await t.test('show their first tools once they have the key for them', async () => {
                const { reason } = await until('without its key', async () => {
                    const one = await state('keyless');
                    return one?.state === 'degraded' && one;
                });
                assert.match(reason, /no tools without a key/);
                berth().configure({ ...configured, keyless: { ...entry('keyless'), env: { ROUND: 'key' } } });
                await until('with it', async () => !(await call('keyless__echo', { text: 'x' })).failed);
                assert.equal((await berth().tool('server_status', { server: 'keyless' })).held, undefined, 'nothing is held back');
            });

            await t.test('follow the files that their entries read', async () => {
                const seen = async () => JSON.parse((await call('rotated__look')).text).env;
                const { ROUND, MORE } = await seen();
                assert.deepEqual([ROUND, MORE], ['a', 'a']);
                const { starts } = await berth().tool('server_status', { server: 'good' });
                rotate('b');
                await until('the next secret', async () => {
                    const env = await seen().catch(() => ({}));     // a call that it meets fails
                    return env.ROUND === 'b' && env.MORE === 'b';
                });
                assert.equal((await berth().tool('server_status', { server: 'good' })).starts, starts, 'nobody else');
                rotate('c');
                await berth().tool('server_restart', { server: 'rotated' });
                assert.equal((await seen()).ROUND, 'c', 'at once, when asked for');
            });

            await t.test('keep their secrets from everything that is written or said', async () => {
                for (const one of (await berth().tool('servers_list')).servers) {
                    heard.push(JSON.stringify(await berth().tool('server_status', { server: one.server })));
                    heard.push(JSON.stringify(await berth().tool('server_logs', { server: one.server })));
                }
                heard.push(JSON.stringify(await client.tools()), berth().log);
                for (const path of files(berth().data)) {
                    if (!path.endsWith('/servers.json')) heard.push(readFileSync(path, 'latin1'));
                }
                for (const [habit, value] of Object.entries(secret)) {
                    const at = heard.findIndex((text) => text.includes(value));
                    assert.equal(at, -1, `the secret of ${habit}: ${at < 0 ? '' : heard[at].slice(0, 300)}`);
                }
            });

            await t.test('are gone with a server that was killed, and there again with the next', async () => {
                await berth().crash();
                await berth().serve();
                await until('good again', async () => !(await call('good__echo', { text: 'x' })).failed);
            });
        } finally {
            await client.close();
        }
    });
}, '', configured);
