// Snapshots, restores and forks: memory and files of one instant, each copy with an identity of its own, all of it or nothing,
// and after kill -9 of the server nothing acknowledged is lost and nothing half made is left. KILLS sets how often each kind
// of call is killed, SEED repeats a run.
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, renameSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { randomFrom } from './lib/ledger.mjs';
import { unaccounted } from './lib/remains.mjs';
import { runtime } from './lib/berth.mjs';
import { Sleeper, imageFiles, pause, until } from './lib/sleeper.mjs';
import { suite } from './lib/suite.mjs';

const kills = Number(process.env.KILLS ?? 3);
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
const random = randomFrom(seed);

// Answers with a number that grows by one each time, which memory alone knows, and one of a generator: seeded anew on a
// signal that the program asked for, or left as it is.
const program = (reseeds) => `cat > p.py <<'X'
import os, random, signal, sys
random.seed(1)
if ${reseeds ? 'True' : 'False'}:
    signal.signal(signal.SIGUSR1, lambda *_: random.seed())
    os.makedirs("/run/berth/notify", exist_ok=True)
    open(f"/run/berth/notify/{os.getpid()}", "w").write(str(int(signal.SIGUSR1)))
print("ready", flush=True)
n = 0
for line in sys.stdin:
    n += 1
    print(f"count {n} drew {random.random()};", flush=True)
X
exec python3 p.py`;

suite((berth) => {
    const fresh = async (args = {}, reseeds = true) => {
        const w = await Sleeper.create(berth(), { files: { 'kept.txt': 'first' }, ...args });
        const talk = await w.start(program(reseeds));
        await talk.hear(/ready/);
        return { w, talk };
    };
    const count = async (talk) => {
        const [, n, drew] = await talk.say('', /count (\d+) drew ([\d.e-]+);/);
        return { n: Number(n), drew };
    };
    const at = (id) => Sleeper.of(berth(), id);
    const images = (id) => {
        try {
            return readdirSync(join(berth().data, 'images', id));
        } catch {
            return [];
        }
    };
    const settled = async (snapshots) => until(`everything is accounted for (SEED=${seed})`, async () => {
        const asker = at(undefined);
        const listed = (await asker.client.call('workspace_list', { limit: 200 })).structured.workspaces;
        asker.close();
        return await unaccounted(berth(), new Set(listed.map((w) => w.workspace_id)), snapshots) === '';
    });
    const end = async (w) => {
        await w.must('workspace_delete');
        assert.deepEqual(images(w.id), []);
        w.close();
    };

    test('back to a snapshot three times in a row, memory and files', { timeout: 120_000 }, async () => {
        const { w, talk } = await fresh({}, false);
        await count(talk);
        const before = await count(talk);
        const written = talk.cursor;
        const made = await w.must('workspace_snapshot', { name: 'two' });
        assert.equal(made.fidelity, 'memory');
        assert.ok(made.memory_bytes > 0 && made.files_bytes > 0 && made.ms > 0 && made.still_ms > 0);
        assert.equal(await w.state(), 'running');
        const after = await count(talk);      // it goes on
        assert.equal(after.n, before.n + 1);
        for (let round = 0; round < 3; round++) {
            await w.run(`echo changed > kept.txt; echo ${round} > new${round}; sync`);
            const back = await w.must('workspace_restore', { snapshot: round === 1 ? made.snapshot_id : 'two' });
            assert.equal(back.fidelity, 'memory');
            assert.equal(back.previous_state, 'lost');
            assert.equal(back.memory_bytes, made.memory_bytes);
            assert.ok(back.files_bytes > 0 && back.ms > 0);
            assert.deepEqual(back.dropped, []);
            assert.equal(back.state, 'running');
            assert.equal(await w.run('cat kept.txt; ls'), 'firstkept.txt\np.py\n');
            const again = await count(w.talk(talk.process_id, written));
            assert.deepEqual(again, after);   // the same memory, and so the same draw
            assert.match(await w.run('cat /run/berth/generation'), /restored/);
        }
        // What it is now can be kept.
        await w.run('echo newest > kept.txt');
        const back = await w.must('workspace_restore', { snapshot: 'two', keep_as: 'newest' });
        assert.equal(back.previous_state, 'kept');
        assert.equal(back.kept.name, 'newest');
        assert.equal(await w.run('cat kept.txt'), 'first');
        await w.must('workspace_restore', { snapshot: 'newest' });
        assert.equal(await w.run('cat kept.txt'), 'newest\n');
        const { snapshots } = await w.must('snapshot_list');
        assert.deepEqual(snapshots.map((s) => s.name), ['newest', 'two']);
        assert.equal(images(w.id).length, 2);
        await settled(2);
        assert.equal((await w.must('snapshot_delete', { snapshot: 'two' })).deleted, true);
        assert.match((await w.call('workspace_restore', { snapshot: 'two' })).text, /has no snapshot "two"; snapshot_list/);
        assert.equal(images(w.id).length, 1);
        await end(w);
        await settled(0);
    });

    test('a snapshot of one that sleeps does not wake it', { timeout: 120_000 }, async () => {
        const { w, talk } = await fresh();
        await count(talk);
        const written = talk.cursor;
        await w.hibernate();
        const made = await w.must('workspace_snapshot', { name: 'asleep' });
        assert.equal(made.fidelity, 'memory');
        assert.equal(await w.state(), 'hibernated');
        assert.equal((await count(talk)).n, 2);
        await w.hibernate();
        await w.must('workspace_restore', { snapshot: 'asleep' });
        assert.equal((await count(w.talk(talk.process_id, written))).n, 2);
        // And it sleeps and wakes like any other afterwards.
        await w.hibernate();
        assert.equal((await w.must('workspace_wake')).fidelity, 'memory');
        await end(w);
        await settled(0);
    });

    test('ten forks, each with an identity of its own', { timeout: 180_000 }, async (t) => {
        const { w, talk } = await fresh({ name: 'origin', env: { KEPT: 'yes' } });
        const fixed = await w.start(program(false));
        await fixed.hear(/ready/);
        await w.run('echo volume > /workspace/data; echo home > ~/data; echo tmp > /tmp/data');
        const drawn = { seeded: await count(talk), fixed: await count(fixed) };
        const names = ['one', 'two'];
        const cursors = { talk: talk.cursor, fixed: fixed.cursor };
        const made = await w.must('workspace_fork', { count: 10, names });
        t.diagnostic(`10 forks in ${Math.round(made.ms)} ms, ${Math.round(made.still_ms)} ms of it at a stand`);
        assert.equal(made.fidelity, 'memory');
        assert.equal(made.workspaces.length, 10);
        assert.ok(made.files_bytes > 0 && made.memory_bytes > 0);
        assert.deepEqual(made.dropped, []);
        assert.deepEqual(made.workspaces.slice(0, 2).map((one) => one.name), names);
        const forks = made.workspaces.map((one) => ({ one, fork: at(one.workspace_id) }));
        const seen = { machine: new Set(), host: new Set(), urandom: new Set(), seeded: new Set(), fixed: new Set() };
        const look = 'cat /etc/machine-id; hostname; od -An -N16 -tx1 /dev/urandom; cat /run/berth/generation; ' +
            'date +%s; cat /workspace/data ~/data /tmp/data; echo $KEPT';
        const learn = (text) => {
            const [machine, host, urandom, , clock, ...rest] = text.split('\n');
            seen.machine.add(machine);
            seen.host.add(host);
            seen.urandom.add(urandom);
            assert.ok(Math.abs(Number(clock) - Date.now() / 1000) < 60, `its clock says ${clock}`);
            assert.deepEqual(rest, ['volume', 'home', 'tmp', 'yes', '']);
        };
        for (const { one, fork } of forks) {
            assert.equal(one.state, 'running');
            const told = await fork.run(look);
            assert.match(told, /\d+ forked\n/);
            learn(told);
            const own = (origin) => one.processes.find((p) => p.origin === origin.process_id)?.process_id;
            assert.notEqual(own(talk), undefined);
            const seeded = await count(fork.talk(own(talk), cursors.talk));
            const same = await count(fork.talk(own(fixed), cursors.fixed));
            assert.equal(seeded.n, drawn.seeded.n + 1);
            seen.seeded.add(seeded.drew);
            seen.fixed.add(same.drew);
            await fork.run(`echo ${one.workspace_id} > /workspace/data`);
        }
        learn(await w.run(look));           // the origin's files are its own
        assert.doesNotMatch(await w.run('cat /run/berth/generation 2>/dev/null || echo never'), /forked/);
        assert.equal(seen.machine.size, 11);
        assert.equal(seen.host.size, 11);
        assert.equal(seen.urandom.size, 11);
        assert.equal(seen.seeded.size, 10);  // those that asked to be told have seeded anew
        assert.equal(seen.fixed.size, 1);    // the others draw the same, as documented
        assert.equal((await count(talk)).n, drawn.seeded.n + 1);
        // An id of the origin's names the origin's command, and stopping a copy's stops only that.
        const { one, fork } = forks[3];
        const copied = one.processes.find((p) => p.origin === talk.process_id).process_id;
        const stopped = await fork.client.call('stop_process', { process_id: copied });
        assert.ok(!stopped.failed, stopped.text);
        assert.equal((await count(talk)).n, drawn.seeded.n + 2);
        assert.match((await w.call('workspace_fork', { count: 2, names: ['one'] })).text, /"one" is taken/);
        // A fork of a fork, and of one that sleeps.
        await forks[0].fork.hibernate();
        const second = await forks[0].fork.must('workspace_fork', { count: 1 });
        assert.equal(second.fidelity, 'memory');
        assert.equal(await forks[0].fork.state(), 'hibernated');
        const child = at(second.workspaces[0].workspace_id);
        assert.equal(await child.run('cat /workspace/data'), `${forks[0].one.workspace_id}\n`);
        await end(child);
        await settled(0);
        for (const { fork } of forks) await end(fork);
        await end(w);
        await settled(0);
    });

    test('what copies draw and are called', { timeout: 180_000 }, async (t) => {
        // What begins after the fork is fresh in each. What a program has drawn into its own memory before it is the same, until
        // it takes the signal that docs/hibernation.md shows it how to ask for.
        const w = await Sleeper.create(berth(), { name: 'original' });
        const program = (told) => `cat > held${told}.py <<'X'
import os, random, signal, ssl, sys, uuid
random.random(); ssl.RAND_bytes(8); uuid.uuid4()
def anew(*_):
    random.seed()
    ssl.RAND_add(os.urandom(32), 32)
if ${told ? 'True' : 'False'}:
    signal.signal(signal.SIGUSR1, anew)
    os.makedirs("/run/berth/notify", exist_ok=True)
    open(f"/run/berth/notify/{os.getpid()}", "w").write(str(int(signal.SIGUSR1)))
print("ready", flush=True)
for line in sys.stdin:
    print(f"kernel {os.urandom(8).hex()} uuid {uuid.uuid4()} random {random.random()} openssl {ssl.RAND_bytes(8).hex()};", flush=True)
X
exec python3 held${told}.py`;
        const [told, untold] = [await w.start(program(true)), await w.start(program(false))];
        for (const talk of [told, untold]) await talk.hear(/ready/);
        const cursors = [told.cursor, untold.cursor];
        const made = await w.must('workspace_fork', { count: 3 });
        const copies = made.workspaces.map((fork) => {
            const one = at(fork.workspace_id);
            const [mine, other] = [told, untold].map((talk, i) =>
                one.talk(fork.processes.find((p) => p.origin === talk.process_id).process_id, cursors[i]));
            return { one, told: mine, untold: other };
        });
        const fresh = {
            'the host name': 'hostname',
            'the machine id': 'cat /etc/machine-id || echo none yet',
            'the boot id': 'cat /proc/sys/kernel/random/boot_id',
            '/dev/urandom': 'od -An -N16 -tx1 /dev/urandom',
            'python random': 'python3 -c "import random; print(random.random())"',
            'python uuid4': 'python3 -c "import uuid; print(uuid.uuid4())"',
            'openssl rand': 'openssl rand -hex 16',
            'bash RANDOM': 'echo $RANDOM$RANDOM$RANDOM$RANDOM',
            'mktemp': 'mktemp -u XXXXXXXXXXXXXXXX',
        };
        // Native ones show the machine's own, in forks too (docs/native.md).
        if (runtime === 'native') delete fresh['the boot id'];
        const everyone = [w, ...copies.map((copy) => copy.one)];
        for (const [what, command] of Object.entries(fresh)) {
            const seen = [];
            for (const one of everyone) seen.push(await one.run(command));
            assert.equal(new Set(seen).size, everyone.length, `${what}: ${seen}`);
        }
        const draws = async (which) => {
            const drawn = { kernel: new Set(), uuid: new Set(), random: new Set(), openssl: new Set() };
            for (const copy of copies) {
                const [, ...values] = await copy[which].say('', /kernel (\S+) uuid (\S+) random (\S+) openssl (\S+);/);
                Object.values(drawn).forEach((set, i) => set.add(values[i]));
            }
            return Object.fromEntries(Object.entries(drawn).map(([what, set]) => [what, set.size]));
        };
        const all = copies.length;
        assert.deepEqual(await draws('told'), { kernel: all, uuid: all, random: all, openssl: all });
        const left = await draws('untold');
        t.diagnostic(`of ${all} copies of a program that takes no signal, distinct: ${JSON.stringify(left)}`);
        assert.equal(left.kernel, all);
        assert.equal(left.uuid, all);
        for (const one of everyone) assert.ok(Math.abs(Number(await one.run('date +%s')) - Date.now() / 1000) < 60);
        // And again after a sleep, and in a fork of a fork.
        const [first] = copies;
        const bootId = 'cat /proc/sys/kernel/random/boot_id';
        const boot = await first.one.run(bootId);
        await first.one.hibernate();
        assert.equal(await first.one.run(bootId), boot);
        const second = at((await first.one.must('workspace_fork', { count: 1 })).workspaces[0].workspace_id);
        const later = await second.run(bootId);
        if (runtime === 'native') assert.equal(later, boot);
        else assert.notEqual(later, boot);
        for (const one of [...everyone, second]) await end(one);
        await settled(0);
    });

    test('without memory there are the files, and the answer says why', { timeout: 120_000 }, async () => {
        const { w } = await fresh();
        await w.start('exec 3> held; rm held; echo open; exec sleep 1000').then((talk) => talk.hear(/open/));
        const made = await w.must('workspace_snapshot', { name: 'files' });
        assert.equal(made.fidelity, 'files');
        assert.match(made.note, /held/);
        const forked = await w.must('workspace_fork', { count: 2 });
        assert.equal(forked.fidelity, 'files');
        assert.match(forked.note, /held/);
        for (const one of forked.workspaces) {
            const fork = at(one.workspace_id);
            assert.equal(one.state, 'stopped');
            assert.equal(await fork.run('cat kept.txt'), 'first');
            await end(fork);
        }
        await w.run('echo later > kept.txt');
        const back = await w.must('workspace_restore', { snapshot: 'files' });
        assert.equal(back.fidelity, 'files');
        assert.match(back.note, /held/);
        assert.equal(await w.run('cat kept.txt'), 'first');
        await end(w);
        await settled(0);
    });

    test('an image that was changed or swapped is not loaded; the files of its snapshot are there', { timeout: 120_000 },
        async () => {
            const { w } = await fresh();
            const other = await fresh();
            for (const name of ['cut', 'swapped']) await w.must('workspace_snapshot', { name });
            const foreign = await other.w.must('workspace_snapshot', {});
            const home = (id) => join(berth().data, 'images', id);
            const { snapshots } = await w.must('snapshot_list');
            const id = (name) => snapshots.find((s) => s.name === name).snapshot_id;
            const cut = join(home(w.id), id('cut'));
            const pages = join(cut, imageFiles(cut).pages);
            const file = openSync(pages, 'r+');
            writeSync(file, 'changed', Math.floor(statSync(pages).size / 2));
            closeSync(file);
            renameSync(join(home(w.id), id('swapped')), join(home(w.id), 'aside'));
            renameSync(join(home(other.w.id), foreign.snapshot_id), join(home(w.id), id('swapped')));
            for (const [snapshot, reason] of [['cut', /changed/], ['swapped', /another one's/]]) {
                await w.run('echo later > kept.txt');
                const back = await w.must('workspace_restore', { snapshot });
                assert.equal(back.fidelity, 'files');
                assert.match(back.note, reason);
                assert.equal(await w.run('cat kept.txt'), 'first');
            }
            await end(w);
            await end(other.w);
            await settled(0);
        });

    test('limits name what to delete', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth());
        for (const name of ['a', 'b', 'c', 'd']) await w.must('workspace_snapshot', { name });
        assert.match((await w.call('workspace_snapshot', { name: 'd' })).text, /may have 4 snapshots.*it has a, b, c, d/);
        await w.must('snapshot_delete', { snapshot: 'd' });
        assert.match((await w.call('workspace_snapshot', { name: 'a' })).text, /has a snapshot "a" already/);
        assert.match((await w.call('workspace_snapshot', { name: '../x' })).text, /name: expected letters/);
        assert.match((await w.call('workspace_fork', { count: 17 })).text, /16/);
        await w.run('head -c 390M /dev/urandom > big');
        const full = await w.call('workspace_snapshot', { name: 'big' });
        assert.match(full.text, /of 400 MiB \(snapshots.max_bytes\).*delete one with snapshot_delete; the largest are "/);
        assert.equal((await w.must('snapshot_list')).snapshots.length, 3);
        await settled(3);
        await end(w);
        await settled(0);
    });

    test(`kill -9 of the server in the middle (SEED=${seed})`, { timeout: 600_000 }, async (t) => {
        const seen = {};
        const { w, talk } = await fresh();
        await w.must('workspace_snapshot', { name: 'kept' });
        let expected = 0;
        for (const [tool, args, most] of [['workspace_snapshot', { name: 'more' }, 700], ['workspace_fork', { count: 3 }, 1500],
            ['workspace_restore', { snapshot: 'kept' }, 900]]) {
            for (let kill = 0; kill < kills; kill++) {
                const answer = w.call(tool, args).catch(() => undefined);
                await pause(random() * most);
                await berth().crash();
                const told = await answer;
                await berth().serve();
                w.reconnect(berth());
                const listed = (await w.client.call('workspace_list', { limit: 200 })).structured.workspaces;
                const forks = listed.filter((one) => one.workspace_id !== w.id);
                const { snapshots } = await w.must('snapshot_list');
                assert.ok(snapshots.some((s) => s.name === 'kept' && s.fidelity === 'memory'));
                await settled(snapshots.length);
                assert.equal(images(w.id).length, snapshots.filter((s) => s.fidelity === 'memory').length +
                    (await w.state() === 'hibernated' ? 1 : 0));
                // It goes on from where it was, or from the snapshot where that was restored.
                const { fidelity, fidelity_reason } = await w.must('workspace_get');
                assert.notEqual(fidelity, 'files', fidelity_reason);
                const written = await w.client.call('read_process_output',
                    { process_id: talk.process_id, cursor: 0, wait_ms: 0 });
                assert.ok(!written.failed, written.text);
                const { n } = await count(w.talk(talk.process_id, written.structured.cursor));
                if (tool === 'workspace_restore') assert.ok(n === expected + 1 || n === 1, `it counts ${n} after ${expected}`);
                else assert.equal(n, expected + 1);
                expected = n;
                if (tool === 'workspace_fork') {
                    assert.ok(forks.length === 3 || (forks.length === 0 && !told), `${forks.length} forks`);
                    for (const one of forks) {
                        const fork = at(one.workspace_id);
                        assert.equal(await fork.run('cat kept.txt'), 'first');
                        assert.equal((await fork.must('workspace_get')).fidelity, 'memory');
                        await end(fork);
                    }
                } else {
                    assert.deepEqual(forks, []);
                }
                if (told && !told.failed && tool === 'workspace_snapshot') assert.ok(snapshots.some((s) => s.name === 'more'));
                if (snapshots.some((s) => s.name === 'more')) await w.must('snapshot_delete', { snapshot: 'more' });
                const how = `${tool} ${told ? 'answered' : 'cut'}`;
                seen[how] = (seen[how] ?? 0) + 1;
            }
        }
        t.diagnostic(JSON.stringify(seen));
        await end(w);
        await settled(0);
    });
}, 'toolsets: [core, files, lifecycle]\nsnapshots: {per_workspace: 4, max_bytes: 400MiB}\n');

suite((berth) => {
    test('forks for which there is no room are undone, all of them', { timeout: 180_000 }, async () => {
        const w = await Sleeper.create(berth());
        const talk = await w.start('echo ready; cat');
        await talk.hear(/ready/);
        const refused = await w.call('workspace_fork', { count: 8, names: ['a'] });
        assert.ok(refused.failed);
        assert.match(refused.text, /no fork was made/);
        const listed = (await w.client.call('workspace_list')).structured.workspaces;
        assert.deepEqual(listed.map((one) => one.workspace_id), [w.id]);
        await talk.say('still here', /still here/);
        await until('nothing is left of them', async () => await unaccounted(berth(), new Set([w.id])) === '');
        const made = await w.must('workspace_fork', { count: 1, names: ['a'] });
        assert.equal(made.workspaces[0].name, 'a');
        w.close();
    });
}, 'toolsets: [core, files, lifecycle]\nmax_sandboxes: 5\n');
