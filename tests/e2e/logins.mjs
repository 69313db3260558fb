// Servers reached by URL that want OAuth: the state until somebody logged in, the operator's command, renewal without
// anybody, and what ends a login. Nothing of a token is shown anywhere.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { binary } from './lib/berth.mjs';
import { Guarded } from './lib/oauth.mjs';
import { suite } from './lib/suite.mjs';

const guarded = await Guarded.start();
after(() => guarded.stop());

const robot = { grant: 'client_credentials', clientId: 'robot', clientSecret: 'robot-secret-robot-secret', issuer: guarded.origin };
const subjects = {
    mail: { url: guarded.url },
    robot: { url: guarded.url, oauth: robot },
    closed: { url: guarded.url, oauth: false, maxRestarts: 1 },
};

suite((berth) => {
    const state = async (name) => (await berth().tool('servers_list')).servers.find((one) => one.server === name);
    const until = async (name, wanted) => {
        for (let tries = 0; tries < 300; tries++) {
            const now = await state(name);
            if (now?.state === wanted) return now;
            await new Promise((done) => setTimeout(done, 100));
        }
        assert.fail(`${name} is not ${wanted}: ${JSON.stringify(await state(name))}\n${berth().log}`);
    };
    const call = async (tool) => (await berth().tool('call_tool', { tool, arguments: {} })).trim();

    // Runs the command and plays the browser: `visit` gets the address and the command's process.
    const login = async (name, visit) => {
        const command = spawn(binary, ['servers', 'login', name, '--data', berth().data], { stdio: 'pipe' });
        let said = '', visited = false;
        const ended = new Promise((done) => { command.once('exit', done); });
        command.stderr.on('data', (text) => { said += text; });
        command.stdout.on('data', (text) => {
            said += text;
            const address = /^ {4}(http\S+)\n/m.exec(said);
            if (!address || visited) return;
            visited = true;
            visit(address[1], command).catch((error) => { said += error; command.kill(); });
        });
        return { status: await ended, said };
    };
    const followed = async (address) => {
        const there = await fetch(address, { redirect: 'manual' });
        assert.equal(there.status, 302, await there.text());
        return there.headers.get('location');
    };
    const browse = async (address) => {
        const back = await followed(address);
        const forged = new URL(back);
        forged.searchParams.set('state', 'guessed');
        assert.equal((await fetch(forged)).status, 400, 'a page that only guesses is not listened to');
        assert.equal((await fetch(back)).status, 200);
    };

    // The running berth has seen the new login; the server's tools are known, so it may wait for a call.
    const taken = async () => {
        for (let tries = 0; tries < 300 && (await state('mail')).state === 'needs_login'; tries++) {
            await new Promise((done) => setTimeout(done, 100));
        }
    };

    test('says that it needs a login and how, and asks nobody else for one', async () => {
        const mail = await until('mail', 'needs_login');
        assert.match(mail.next_step, /^sudo berth servers login mail --data /);
        assert.equal(guarded.count('/register'), 0);
        assert.match((await until('closed', 'failed')).reason, /401/);
        const refused = await login('closed', async () => {});
        assert.match(refused.said, /"oauth": false/);
    });

    test('a client that is its own user needs no login', async () => {
        await until('robot', 'ready');
        assert.match(await call('robot__whoami'), /hello robot/);
    });

    test('one visit to the browser, and a running berth has it', async () => {
        const done = await login('mail', browse);
        assert.equal(done.status, 0, done.said);
        assert.match(done.said, /guarded offers 3 tools/);
        await until('mail', 'ready');
        assert.match(await call('mail__whoami'), /hello ada/);
        const directory = join(berth().data, 'servers/logins');
        assert.equal(statSync(directory).mode & 0o777, 0o700);
        for (const file of readdirSync(directory)) assert.equal(statSync(join(directory, file)).mode & 0o777, 0o600);
    });

    test('a token is renewed without anybody, and again after a restart', async () => {
        guarded.expire();
        assert.match(await call('mail__whoami'), /hello ada/);
        await berth().crash();
        await berth().serve();
        guarded.expire();
        assert.match(await call('mail__whoami'), /hello ada/);
        assert.equal(guarded.count('/register'), 1);
    });

    test('an authorization server that is away ends no login', async () => {
        guarded.away = true;
        guarded.expire();
        await assert.rejects(call('mail__whoami'), /503/);
        assert.notEqual((await state('mail')).state, 'needs_login');
        guarded.away = false;
        assert.match(await call('mail__whoami'), /hello ada/);
    });

    test('tokens are taken out of what the server sends', async () => {
        assert.match(await call('mail__leak'), /you sent Bearer \[redacted: login\]/);
        assert.match(await call('robot__leak'), /you sent Bearer \[redacted: login\]/);
    });

    test('a login that is over is said with the call and in the state; another, pasted, is another user', async () => {
        guarded.revoke();
        await assert.rejects(call('mail__whoami'), /berth servers login mail/);
        await until('mail', 'needs_login');
        guarded.user = 'grace';
        const done = await login('mail', async (address, command) => {
            const back = await followed(address);
            command.stdin.write(`nonsense\n${back}\n`);
        });
        assert.equal(done.status, 0, done.said);
        assert.match(done.said, /That is not it/);
        await taken();
        assert.match(await call('mail__whoami'), /hello grace/);
    });

    test('rights that were not granted need a login too, which then asks for them', async () => {
        await assert.rejects(call('mail__write'), /berth servers login mail/);
        await until('mail', 'needs_login');
        const done = await login('mail', browse);
        assert.equal(done.status, 0, done.said);
        await taken();
        assert.match(await call('mail__write'), /hello grace/);
    });

    const logout = async () => {
        const out = spawn(binary, ['servers', 'logout', 'mail', '--data', berth().data]);
        let said = '';
        for (const stream of [out.stdout, out.stderr]) stream.on('data', (text) => { said += text; });
        const status = await new Promise((done) => { out.once('close', done); });
        for (let tries = 0; (await state('mail')).state !== 'needs_login'; tries++) {
            assert.ok(tries < 300, JSON.stringify(await state('mail')));
            await call('mail__whoami').catch(() => {});
            await new Promise((next) => setTimeout(next, 100));
        }
        return { status, said };
    };
    const everGiven = [];

    test('what others write moves nothing on the operator\'s terminal', async () => {
        const printed = (said) => assert.doesNotMatch(said, /[^\P{Cc}\n]/u, JSON.stringify(said));
        guarded.excuse = 'no\x1b[2J\nLogged in';
        const refused = await login('mail', browse);
        assert.equal(refused.status, 1, refused.said);
        assert.match(refused.said, /gave no token \(HTTP 400, no\?\[2J\?Logged in\)/);
        guarded.excuse = undefined;
        guarded.name = 'good\x1b]0;owned\x07\u009b2J';
        const done = await login('mail', browse);
        assert.equal(done.status, 0, done.said);
        assert.match(done.said, /Logged in: good\?\]0;owned\?\?2J offers 3 tools/);
        guarded.name = 'guarded';
        await taken();
        const theirs = join(berth().directory, 'theirs.json'), ours = join(berth().directory, 'ours.json');
        writeFileSync(theirs, JSON.stringify({ mcpServers: {
            'x\x1b[1A': { command: 'x' }, y: { command: 'uvx', args: ['/home/\x1b[2J'], timeout: 'soon\x1b[2J', 'key\x1b[2J': 1 },
            z: { command: 'uvx', args: ['/home/\x1b[2J'], 'key\x1b[2J': 1, sandbox: { filesystem: { allowRead: ['/srv/\x1b[2J'] } } } } }));
        for (const args of [['import', theirs], ['check']]) {
            const { stdout, stderr } = spawnSync(binary, ['servers', ...args, '--servers', ours], { encoding: 'utf8' });
            assert.match(stdout, /\?\[2J/, stderr);
            printed(stdout + stderr);
        }
        printed(refused.said + done.said);
        printed(berth().log);
    });

    test('logout where nothing can be revoked, or not now, forgets the login and says what is still good', async () => {
        for (const [set, status, words] of [[() => { guarded.revokes = false; }, 0, /offers no revocation/], [() => { guarded.away = true; }, 1, /may still be good: .*503/]]) {
            everGiven.push(...guarded.access.keys(), ...guarded.refresh.keys());
            set();
            const out = await logout();
            assert.equal(out.status, status, out.said);
            assert.match(out.said, words);
            [guarded.revokes, guarded.away] = [true, false];
            assert.equal((await login('mail', browse)).status, 0);
            await taken();
        }
    });

    test('logout forgets it and revokes it, and nothing of it all stands in a log or the registry', async () => {
        assert.match(await call('mail__whoami'), /hello/);
        everGiven.push(...guarded.access.keys(), ...guarded.refresh.keys());
        const mine = () => [...guarded.access.values(), ...guarded.refresh.values()].filter(({ user }) => user === guarded.user).length;
        const before = mine(), asked = guarded.count('/revoke');
        const out = await logout();
        assert.equal(out.status, 0, out.said);
        assert.match(out.said, /revoked at the authorization server/);
        assert.equal(guarded.count('/revoke'), asked + 2);
        assert.equal(mine(), before - 2, 'the refresh token and the access token');
        const tokens = everGiven;
        assert.ok(tokens.length >= 2);
        const registry = readdirSync(berth().data).filter((name) => name.startsWith('registry.sqlite'))
            .map((name) => readFileSync(join(berth().data, name), 'latin1')).join();
        assert.ok(registry.length > 1000);
        for (const token of tokens) {
            assert.ok(!berth().log.includes(token), 'log');
            assert.ok(!registry.includes(token), 'registry');
        }
    });
}, '', subjects);
