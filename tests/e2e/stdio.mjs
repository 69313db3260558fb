// `berth stdio`: several windows of one person share one server, whoever started it and whoever leaves first.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { binary } from './lib/berth.mjs';
import { groupParents, mounts } from './lib/remains.mjs';
import { Sleeper, until } from './lib/sleeper.mjs';
import { suite } from './lib/suite.mjs';

/** One client: sends tool calls of the 2026 revision, and gets their structured results. */
class Window {
    constructor(command, ...args) {
        this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
        this.said = '';
        this.waiting = new Map();
        this.process.stderr.on('data', (text) => { this.said += text; });
        this.process.stdin.on('error', () => {});
        this.ended = new Promise((done) => this.process.once('close', (code, signal) => done(code ?? signal)));
        this.ended.then((how) => {
            for (const { no } of this.waiting.values()) no(new Error(`ended with ${how}: ${this.said}`));
        });
        createInterface({ input: this.process.stdout }).on('line', (line) => {
            const answer = JSON.parse(line);
            this.waiting.get(answer.id)?.yes(answer);
            this.waiting.delete(answer.id);
        });
    }
    async call(name, args) {
        const id = Math.random().toString(36);
        const answered = new Promise((yes, no) => this.waiting.set(id, { yes, no }));
        this.process.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: {
            name, arguments: args, _meta: {
                'io.modelcontextprotocol/protocolVersion': '2026-07-28',
                'io.modelcontextprotocol/clientCapabilities': {},
            } } })}\n`);
        const { result, error } = await answered;
        assert.ok(result && !result.isError, JSON.stringify(error ?? result?.content));
        return result.structuredContent;
    }
    close() {
        this.process.stdin.end();
        return this.ended;
    }
}

/** Processes that name the directory: [pid, command]. */
const processesOf = (directory) => readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).map((pid) => {
    try {
        return [Number(pid), readFileSync(`/proc/${pid}/cmdline`, 'utf8')];
    } catch {
        return [0, ''];     // it has ended meanwhile
    }
}).filter(([, command]) => command.includes(directory));

/** Of this server's slots, those that stand still: by the kernel's word, version 1 or 2. */
const frozen = (data) => groupParents(data).flatMap((parent) => readdirSync(parent, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && ['freezer.state', 'cgroup.freeze'].some((knob) => {
        try {
            return ['FROZEN', '1'].includes(readFileSync(join(parent, entry.name, knob), 'utf8').trim());
        } catch {
            return false;       // a hierarchy of other things
        }
    })).map((entry) => entry.name));

suite((berth) => {
    const limit = { timeout: 100_000 };
    const fresh = (name) => join(berth().directory, name);
    const names = async (window) => (await window.call('workspace_list', {})).workspaces.map((one) => one.name);

    test('a server of its own for whoever comes first, shared by whoever comes next', limit, async () => {
        const data = fresh('shared');
        const first = new Window(binary, 'stdio', '--data', data);
        const { workspace_id } = await first.call('workspace_create', { name: 'of-the-first' });
        const second = new Window(binary, 'stdio', '--data', data);
        assert.deepEqual(await names(second), ['of-the-first']);
        const started = await second.call('run_command', { workspace_id, command: 'sleep 500', background: true });
        first.process.kill('SIGKILL');
        assert.equal(await first.ended, 'SIGKILL');
        const after = await second.call('read_process_output', { process_id: started.process_id });
        assert.equal(after.state, 'running');
        assert.equal(await second.close(), 0);
        assert.deepEqual(processesOf(data), [], 'the last client has left, and the server with it');
        // What it kept is there for the next one.
        const third = new Window(binary, 'stdio', '--data', data);
        assert.deepEqual(await names(third), ['of-the-first']);
        assert.equal(await third.close(), 0);
    });

    test('ten started at once get one server', limit, async () => {
        const data = fresh('ten');
        const windows = Array.from({ length: 10 }, () => new Window(binary, 'stdio', '--data', data));
        await Promise.all(windows.map((window, i) => window.call('workspace_create', { name: `of-${i}` })));
        assert.equal((await names(windows[0])).length, 10);
        assert.deepEqual(await Promise.all(windows.map((window) => window.close())), Array(10).fill(0));
        assert.deepEqual(processesOf(data), []);
    });

    test('a terminated client ends as one whose input ended', limit, async () => {
        const data = fresh('terminated');
        const window = new Window(binary, 'stdio', '--data', data);
        await window.call('workspace_create', {});
        window.process.kill('SIGTERM');
        assert.equal(await window.ended, 0);
        assert.deepEqual(processesOf(data), []);
    });

    test('one that asks for nothing starts nothing, and leaves no trace', limit, async () => {
        const data = fresh('looked-at');
        const ways = {
            'its input ends': (window) => window.close(),
            'its input ends after blank lines': (window) => (window.process.stdin.write('\n \r\n'), window.close()),
            'it is terminated': async (window) => {
                // Terminated before it heeds signals it would end by the signal: a program that has just been started.
                await until('it waits', () => /\b(poll|ppoll|do_sys_poll|do_poll)/.test(readFileSync(`/proc/${window.process.pid}/wchan`, 'utf8')) ||
                    readFileSync(`/proc/${window.process.pid}/status`, 'utf8').match(/SigBlk:\s*(\w+)/)[1] !== '0000000000000000');
                window.process.kill('SIGTERM');
                return window.ended;
            },
        };
        for (const [how, way] of Object.entries(ways)) {
            const window = new Window(binary, 'stdio', '--data', data);
            assert.equal(await way(window), 0, `${how}: ${window.said}`);
            assert.equal(window.said, '', how);
            assert.ok(!existsSync(data), how);
        }
        // An empty directory stays one.
        mkdirSync(data, { mode: 0o700 });
        assert.equal(await new Window(binary, 'stdio', '--data', data).close(), 0);
        assert.deepEqual(readdirSync(data), []);
        assert.deepEqual(processesOf(data), []);
    });

    test('what its clients brought up sleeps with its memory once they have left', limit, async () => {
        const data = fresh('asleep');
        const counter = "python3 -u -c 'import sys, os\nblob = os.urandom(1 << 20)\nn = 0\nfor l in sys.stdin:\n n += 1\n print(f\"count {n} {hash(blob)};\")'";
        let window = new Window(binary, 'stdio', '--data', data);
        const { workspace_id } = await window.call('workspace_create', { name: 'brought-up' });
        const { process_id } = await window.call('run_command', { workspace_id, command: counter, background: true });
        const count = async () => {
            const from = (await window.call('read_process_output', { process_id, wait_ms: 0 })).cursor;
            await window.call('send_process_input', { process_id, input: '\n', wait_ms: 0 });
            const { output } = await window.call('read_process_output', { process_id, cursor: from, wait_ms: 20_000 });
            return output.match(/count (\d+) (-?\d+);/).slice(1);
        };
        const [, memory] = await count();
        for (const n of ['2', '3']) {
            assert.equal(await window.close(), 0, window.said);
            assert.deepEqual(processesOf(data), [], 'the last client has left, and the server with it');
            assert.deepEqual(mounts(data), []);
            window = new Window(binary, 'stdio', '--data', data);
            const { workspaces: [listed] } = await window.call('workspace_list', {});
            assert.equal(listed.state, 'hibernated');
            assert.deepEqual(await count(), [n, memory]);
        }
        // What cannot be kept with its memory keeps its files, and says why.
        await window.call('run_command', { workspace_id, command: 'exec 9> open; rm open; echo kept > kept; sleep 500', background: true });
        await until('it is there', async () => (await window.call('run_command', { workspace_id, command: 'cat kept; true' })).output === 'kept\n');
        assert.equal(await window.close(), 0, window.said);
        window = new Window(binary, 'stdio', '--data', data);
        const { workspaces: [listed] } = await window.call('workspace_list', {});
        assert.equal(listed.state, 'stopped');
        const back = await window.call('run_command', { workspace_id, command: 'cat kept' });
        assert.equal(back.output, 'kept\n');
        assert.match(back.fidelity_reason, /its server ended with its last client: .*\/workspace\/open/);
        assert.equal(await window.close(), 0);
    });

    test('what a stopped server left running is as it was after a short client', limit, async () => {
        const [busy, idle] = [await Sleeper.create(berth(), { name: 'busy' }), await Sleeper.create(berth(), { name: 'idle' })];
        const talk = await busy.start('n=0; while read line; do n=$((n+1)); echo "count $n;"; done');
        await talk.say('', /count 1;/);
        await idle.run('echo only-in-memory > /dev/shm/kept; echo kept > kept');
        await until('it is frozen', async () => (await idle.state()) === 'frozen');
        berth().process.kill('SIGTERM');
        assert.equal(await berth().ended, 0);
        const before = { running: processesOf(`${berth().data}/sandboxes`).length, frozen: frozen(berth().data).length };
        assert.ok(before.frozen >= 1, 'nothing is frozen');

        const start = () => new Window(binary, 'stdio', '--data', berth().data, '--config', berth().configFile);
        assert.equal(await start().close(), 0);
        assert.deepEqual({ running: processesOf(`${berth().data}/sandboxes`).length, frozen: frozen(berth().data).length }, before);
        // One that looks, and one that works: what it brought up itself sleeps, the others run on.
        const looks = start();
        assert.ok((await names(looks)).includes('busy'));
        assert.equal(await looks.close(), 0, looks.said);
        const works = start();
        const own = await works.call('workspace_create', { name: 'its-own' });
        await works.call('run_command', { workspace_id: own.workspace_id, command: 'echo kept > /dev/shm/kept' });
        assert.equal((await works.call('run_command', { workspace_id: busy.id, command: 'echo also >> file; cat file' })).output, 'also\n');
        assert.equal(await works.close(), 0, works.said);
        assert.equal(frozen(berth().data).length, 1, 'the idle one stands still again, and no stock is left');

        await berth().serve();
        for (const w of [busy, idle]) w.reconnect(berth());
        await talk.say('', /count 2;/);
        assert.equal(await idle.run('cat /dev/shm/kept kept'), 'only-in-memory\nkept\n');
        for (const w of [busy, idle]) assert.equal((await w.must('workspace_get')).fidelity, undefined, 'it was away');
        const slept = Sleeper.of(berth(), own.workspace_id);
        assert.equal(await slept.state(), 'hibernated');
        assert.equal(await slept.run('cat /dev/shm/kept'), 'kept\n');
        for (const w of [busy, idle, slept]) {
            await w.must('workspace_delete');
            w.close();
        }
    });

    test('a bridge to the server that has the directory already', limit, async () => {
        const window = new Window(binary, 'stdio', '--data', berth().data);
        await window.call('workspace_create', { name: 'through-the-bridge' });
        const seen = execFileSync(binary, ['tool', 'workspace_list', '{}', '--data', berth().data], { encoding: 'utf8' });
        assert.match(seen, /through-the-bridge/);
        assert.equal(await window.close(), 0);
        assert.equal((await fetch(`http://127.0.0.1:${berth().port}/healthz`)).status, 200, 'that server goes on');
    });

    test('megabytes cross it unharmed, in both directions at once', limit, async () => {
        const window = new Window(binary, 'stdio', '--data', berth().data);
        const { workspace_id } = await window.call('workspace_create', {});
        await Promise.all(Array.from({ length: 8 }, async (_, i) => {
            const content = `${i}`.repeat(900_000);
            await window.call('write_file', { workspace_id, path: `big-${i}`, content });
            const { output } = await window.call('run_command', { workspace_id, command: `sha256sum < big-${i} | cut -c1-16` });
            const { createHash } = await import('node:crypto');
            assert.equal(output.trim(), createHash('sha256').update(content).digest('hex').slice(0, 16));
        }));
        assert.equal(await window.close(), 0);
    });

    test('a server that cannot start is one line, and so is one that dies', limit, async () => {
        const config = new Window(binary, 'stdio', '--data', fresh('config'), '--config', '/nonexistent.yaml');
        assert.equal(await config.ended, 1);
        assert.match(config.said, /^berth: [^\n]*nonexistent.yaml[^\n]*\n$/);
        const data = fresh('dies');
        const window = new Window(binary, 'stdio', '--data', data);
        await window.call('workspace_list', {});
        const [[server]] = processesOf(data).filter(([, command]) => command.includes('--on-demand'));
        process.kill(server, 'SIGKILL');
        assert.equal(await window.ended, 1);
        assert.match(window.said, /^berth: [^\n]+\n$/);
        const next = new Window(binary, 'stdio', '--data', data);
        await next.call('workspace_list', {});
        assert.equal(await next.close(), 0);
    });

    test('a plain user is told how to get there, and a member of the group berth is there', limit, async (t) => {
        chmodSync(berth().directory, 0o755);
        const as = (groups) => new Window('setpriv', '--reuid=65534', '--regid=65534', ...groups,
            binary, 'stdio', '--data', berth().data);
        const group = /^berth:/m.test(readFileSync('/etc/group', 'utf8'));
        if (!existsSync(binary) || !binary.startsWith('/')) return t.skip('BERTH must be an absolute path');
        const stranger = as(['--clear-groups']);
        assert.equal(await stranger.ended, 1);
        assert.match(stranger.said, /^berth: [^\n]*(usermod -aG berth|sudo)[^\n]*\n$/);
        if (!group) return t.skip('there is no group berth here: scripts/setup makes it');
        const member = as(['--groups=berth']);
        assert.ok(Array.isArray((await member.call('workspace_list', {})).workspaces));
        assert.equal(await member.close(), 0);
    });
});
