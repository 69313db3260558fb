// Sleep and wake as a client sees them: memory, processes, terminals and ports are there again; one wake however many
// callers; what keeps a workspace awake and what does not; and what cannot be put to sleep says why and goes on.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sleeper, metrics, pause, until } from './lib/sleeper.mjs';
import { runtime } from './lib/berth.mjs';
import { suite } from './lib/suite.mjs';
import { HttpClient } from './lib/wire.mjs';

const counter = `python3 -u -c '
import sys, os, hashlib, http.server, threading
blob = os.urandom(8 << 20)
sum = hashlib.sha256(blob).hexdigest()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"served %d" % os.getpid())
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8123), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
n = 0
for line in sys.stdin:
    n += 1
    print(f"count {n} pid {os.getpid()} same {hashlib.sha256(blob).hexdigest() == sum};")
'`;
const fetchInside = 'python3 -c \'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8123").read().decode())\'';

const asleep = async (sleeper) => {
    await until('it hibernates', async () => (await sleeper.state()) === 'hibernated');
};

suite((berth) => {
    test('everything is there again, cycle after cycle', { timeout: 180_000 }, async () => {
        const w = await Sleeper.create(berth(), { name: 'cycles', env: { KEPT: 'yes' } });
        const program = await w.start(counter);
        await program.hear(/ready/);
        const pid = (await program.say('', /count 1 pid (\d+) same True;/))[1];
        const shell = await w.start('bash --norc -i', { pty: true });
        await shell.say('cd /tmp; secret=$((6 * 7)); echo set:$secret:', /set:42:/);
        for (let cycle = 1; cycle <= 3; cycle++) {
            const slept = await w.hibernate();
            assert.equal(slept.state, 'hibernated');
            assert.equal(slept.fidelity, 'memory');
            assert.ok(slept.image_bytes > 8 << 20, `${slept.image_bytes} bytes`);
            assert.ok(slept.phases.length > 4 && slept.took_ms > 0);
            const shown = await w.must('workspace_get');
            assert.equal(shown.state, 'hibernated');
            assert.equal(shown.image_bytes, slept.image_bytes);
            // Files are read and written from outside: nobody wakes for that.
            await w.must('write_file', { path: `note-${cycle}`, content: `cycle ${cycle}` });
            assert.equal(await w.state(), 'hibernated');
            assert.equal((await w.hibernate()).was_asleep, true);
            if (cycle === 1) {
                const woken = await w.must('workspace_wake');
                assert.equal(woken.fidelity, 'memory');
                assert.equal(woken.was_awake, false);
                assert.equal(woken.image_bytes, slept.image_bytes);
                assert.deepEqual(woken.dropped, []);
                assert.ok(woken.took_ms > 0);
                assert.equal((await w.must('workspace_wake')).was_awake, true);
            }
            assert.equal(await w.run('cat note-' + cycle), `cycle ${cycle}`);
            assert.equal((await program.say('', new RegExp(`count ${cycle + 1} pid (\\d+) same True;`)))[1], pid);
            await shell.say(`echo is:$secret:$PWD:${cycle}:`, new RegExp(`is:42:/tmp:${cycle}:`));
            assert.equal(await w.run(fetchInside), `served ${pid}\n`);
            assert.equal(await w.run('echo $KEPT'), 'yes\n');
            assert.equal((await w.must('workspace_get')).fidelity, 'memory');
        }
        // The terminal's scrollback reaches back before the first sleep.
        const all = await w.client.call('read_process_output', { process_id: shell.process_id, cursor: 0 });
        assert.match(all.text, /set:42:[\s\S]*is:42:\/tmp:1:[\s\S]*is:42:\/tmp:3:/);
        await w.must('workspace_delete');
        const count = await metrics(berth());
        assert.equal(count('berth_images'), 0);
        assert.ok(count('berth_wakes_total') >= 3);
        w.close();
    });

    test('sixteen callers, one wake', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth());
        const program = await w.start(counter);
        await program.hear(/ready/);
        await w.hibernate();
        const before = (await metrics(berth()))('berth_wakes_total');
        const clients = Array.from({ length: 16 }, () => new HttpClient(berth()));
        const answers = await Promise.all(clients.map((client, n) =>
            client.call('run_command', { workspace_id: w.id, command: `echo caller ${n}` })));
        answers.forEach((answer, n) => {
            assert.equal(answer.structured?.output, `caller ${n}\n`, answer.text);
            assert.equal(answer.structured.fidelity, 'memory');
        });
        assert.equal((await metrics(berth()))('berth_wakes_total'), before + 1);
        await program.say('', /count 1 pid \d+ same True;/);
        clients.forEach((client) => client.close());
        await w.must('workspace_delete');
        w.close();
    });

    test('a deleted file that is open is named, and the files alone can sleep', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth());
        const holder = await w.start('exec 9> data.db; rm data.db; echo held; read line');
        await holder.hear(/held/);
        const refused = await w.call('workspace_hibernate');
        assert.ok(refused.failed);
        assert.match(refused.text, /\/workspace\/data\.db/);
        assert.match(refused.text, /bash \(process \d+\)/);
        assert.match(refused.text, /files_only: true/);
        assert.equal(await w.run('echo goes on'), 'goes on\n');
        const slept = await w.hibernate({ files_only: true });
        assert.equal(slept.state, 'stopped');
        assert.equal(slept.fidelity, 'files');
        const back = await w.must('run_command', { command: 'echo back' });
        assert.equal(back.fidelity, 'files');
        assert.match(back.fidelity_reason, /only its files were kept/);
        assert.equal((await w.must('workspace_get')).fidelity, 'files');
        await w.must('workspace_delete');
        w.close();
    });

    test('files that are open inside can be replaced and deleted meanwhile', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth());
        const holder = await w.start('exec 9<> held; echo one >&9; echo holding; while read line; do echo "says $(cat held);"; done');
        await holder.hear(/holding/);
        await w.hibernate();
        // To CRIU a file of another size is another file, so a native one is woken first (docs/native.md). What was open there
        // is then a deleted file, with which nothing sleeps.
        const contents = runtime === 'gvisor' ? ['two\n', 'of another size'] : ['of another size'];
        for (const content of contents) {
            await w.must('write_file', { path: 'held', content });
            assert.equal(await w.state() === 'hibernated', runtime === 'gvisor');
            await holder.say('', new RegExp(`says ${content.trim()};`));
            if (runtime === 'gvisor') await w.hibernate();
        }
        await w.must('delete_file', { path: 'held' });
        assert.notEqual(await w.state(), 'hibernated');
        assert.equal((await w.must('workspace_get')).fidelity, 'memory');
        await holder.say('', /says ;/);
        await w.must('workspace_delete');
        w.close();
    });

    test('an image that is given up while asleep leaves the files', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth(), { files: { 'kept.txt': 'kept' } });
        const program = await w.start(counter);
        await program.hear(/ready/);
        await w.hibernate();
        assert.equal((await w.hibernate({ files_only: true })).state, 'stopped');
        // Its bytes go in the background.
        await until('its image is gone', async () => (await metrics(berth()))('berth_images') === 0);
        assert.equal(await w.run('cat kept.txt'), 'kept');
        // What it had written before it slept is still told.
        const told = await w.client.call('read_process_output', { process_id: program.process_id });
        assert.match(told.text, /ready/);
        assert.equal(told.structured.state, 'exited');
        await w.must('workspace_delete');
        w.close();
    });

    test('settings change while it lives', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth(), { idle: { hibernate_after: '0s' } });
        assert.equal((await w.must('workspace_get')).idle.hibernate_after_ms, 0);
        const shown = await w.must('workspace_update', { idle: { hibernate_after: '1s' }, limits: { memory: '700MiB', cpus: 1 },
            network: { allow: ['example.com'] } });
        assert.equal(shown.idle.hibernate_after_ms, 1000);
        assert.equal(shown.memory_mb, 700);
        assert.equal(shown.cpus, 1);
        assert.deepEqual(shown.network_allow, ['example.com']);
        // Looking at it is no use of it.
        await asleep(w);
        await w.must('workspace_update', { idle: { keep_alive: true } });
        assert.equal(await w.state(), 'hibernated');
        assert.match(await w.run('echo $BERTH_EGRESS; curl -s http://example.org/'), /^example.com\n.*example.org is not/s);
        await pause(2_500);
        assert.notEqual(await w.state(), 'hibernated');
        for (const [args, why] of [[{}, /nothing to change: pass idle, limits or network/], [{ idle: { hibernate_after: 'soon' } }, /hibernate_after/],
            [{ limits: { disk: '2GiB' } }, /disk: unknown argument; expected memory, cpus, pids/], [{ limits: { memory: '900TiB' } }, /limits.memory: expected/],
            [{ limits: { pids: 64 } }, /can be lowered only for a stopped workspace/], [{ network: { allow: ['no host'] } }, /network.allow/]]) {
            const refused = await w.call('workspace_update', args);
            assert.ok(refused.failed, JSON.stringify(args));
            assert.match(refused.text, why);
        }
        await w.must('workspace_delete');
        w.close();
    });

    test('idle ones sleep by themselves; what is kept does not, a forgotten shell does', { timeout: 180_000 }, async () => {
        const idle = { hibernate_after: '1s' };
        const forgotten = await Sleeper.create(berth(), { idle });
        const shell = await forgotten.start('bash --norc -i', { pty: true });
        await shell.say('kept=1; echo set:$kept:', /set:1:/);
        const monitor = await Sleeper.create(berth(), { idle });
        const watching = await monitor.start('while sleep 0.2; do date +%s >> beats; done', { keep_alive: true });
        const always = await Sleeper.create(berth(), { idle: { ...idle, keep_alive: true } });
        const brief = await Sleeper.create(berth(), { idle: { ...idle, stop_after: '4s' } });
        await asleep(forgotten);
        await asleep(brief);
        assert.notEqual(await always.state(), 'hibernated');
        assert.equal(await monitor.state(), 'running');
        await shell.say('echo is:$kept:', /is:1:/);
        await until('the image of the brief one is given up', async () => (await brief.state()) === 'stopped');
        // It sleeps once its monitor has ended, without any call to it that would count as use.
        const beats = (await monitor.must('read_file', { path: 'beats' })).total_lines;
        await until('the monitor goes on', async () => (await monitor.must('read_file', { path: 'beats' })).total_lines > beats + 2);
        await monitor.client.call('stop_process', { process_id: watching.process_id });
        await asleep(monitor);
        for (const w of [forgotten, monitor, always, brief]) {
            await w.must('workspace_delete');
            w.close();
        }
    });
}, 'toolsets: [core, files, lifecycle]\n');

suite((berth) => {
    test('when memory is short the longest idle sleep, and nobody is refused', { timeout: 180_000 }, async () => {
        // Seven of about 80 MiB, where 320 MiB are allowed.
        const hoard = 'python3 -u -c \'import os, sys\nblob = os.urandom(64 << 20)\nprint("ready")\nfor l in sys.stdin: print("still", len(blob))\'';
        const all = [];
        for (let n = 0; n < 7; n++) {
            const w = await Sleeper.create(berth(), {});
            const program = await w.start(hoard);
            await program.hear(/ready/);
            await pause(2_500);      // what it takes is looked at once a second
            all.push([w, program]);
        }
        const states = await Promise.all(all.map(([w]) => w.state()));
        const sleeping = states.filter((state) => state === 'hibernated').length;
        assert.ok(sleeping >= 2, `${states}`);
        assert.equal(states[0], 'hibernated');
        assert.notEqual(states[6], 'hibernated');
        for (const [, program] of all) await program.say('', /still 67108864/);
        for (const [w] of all) {
            await w.must('workspace_delete');
            w.close();
        }
    });

    test('when one at work grows beyond the memory, the longest idle sleep though nobody comes', { timeout: 120_000 }, async () => {
        const hoard = 'python3 -u -c \'import os, sys\nall = [os.urandom(64 << 20)]\nprint("ready")\nfor l in sys.stdin:\n    all.append(os.urandom(208 << 20))\n    print("has", len(all))\'';
        const all = [];
        for (let n = 0; n < 2; n++) {
            const w = await Sleeper.create(berth(), {});
            const program = await w.start(hoard);
            await program.hear(/ready/);
            all.push([w, program]);
        }
        const [[idle], [grows, program]] = all;
        await pause(3_000);
        assert.notEqual(await idle.state(), 'hibernated');
        await program.say('', /has 2/);
        await asleep(idle);
        assert.notEqual(await grows.state(), 'hibernated');
        for (const [w] of all) {
            await w.must('workspace_delete');
            w.close();
        }
    });

    test('when slots are short likewise', { timeout: 180_000 }, async () => {
        const all = [];
        for (let n = 0; n < 7; n++) all.push(await Sleeper.create(berth(), { files: { n: `${n}` } }));
        for (const [n, w] of all.entries()) assert.equal(await w.run('cat n'), `${n}`);
        await Promise.all(all.map((w, n) => w.run('cat n').then((text) => assert.equal(text, `${n}`))));
        for (const w of all) {
            await w.must('workspace_delete');
            w.close();
        }
    });
}, 'toolsets: [core, files, lifecycle]\nmax_sandboxes: 6\nhibernation: {memory_ceiling: 320MiB}\n');
