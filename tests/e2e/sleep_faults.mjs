// What goes wrong while a workspace goes to sleep, sleeps or wakes: kill -9 of the server and of the sandbox at any moment, a
// full disk, and images that were changed. Afterwards it opens, at the last good state or from its files, and says which;
// nothing is left running or mounted. FAULTS sets how often each moment is tried, SEED repeats a run.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, openSync, closeSync, readdirSync, renameSync, rmSync, statSync, truncateSync, writeSync, readSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runtime } from './lib/berth.mjs';
import { randomFrom } from './lib/ledger.mjs';
import { processes, unaccounted } from './lib/remains.mjs';
import { Sleeper, imageFiles, killServerAsleep, metrics, pause, until } from './lib/sleeper.mjs';
import { suite } from './lib/suite.mjs';

const faults = Number(process.env.FAULTS ?? 4);
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
const random = randomFrom(seed);
const toolsets = 'toolsets: [core, files, lifecycle]\n';

// Answers with a number that grows by one each time, which memory alone knows.
const counter = 'python3 -u -c \'import sys, os\nblob = os.urandom(16 << 20)\nprint("ready")\nn = 0\nfor l in sys.stdin:\n n += 1\n print(f"count {n};")\'';

const end = async (w) => {
    await w.must('workspace_delete');
    w.close();
};

suite((berth) => {
    const lonely = async (count) => {
        const workspaces = new Set();
        await until(`everything is accounted for (SEED=${seed})`, async () => {
            const client = (await Sleeper.create(berth(), { name: 'asker' }));
            const listed = (await client.client.call('workspace_list', { limit: 200 })).structured.workspaces;
            workspaces.clear();
            listed.forEach((w) => workspaces.add(w.workspace_id));
            client.close();
            const left = await unaccounted(berth(), workspaces);
            return left === '' ? true : (await pause(100), false);
        });
        if (count !== undefined) assert.equal(workspaces.size, count + 1);      // the asker
    };
    const fresh = async () => {
        const w = await Sleeper.create(berth(), { files: { 'kept.txt': 'kept' } });
        const program = await w.start(counter);
        await program.hear(/ready/);
        let counted = 0;
        return { w, program, count: async () => { await program.say('', new RegExp(`count ${++counted};`)); } };
    };
    const imageOf = (w) => {
        const home = join(berth().data, 'images', w.id);
        const [name] = readdirSync(home);
        return join(home, name);
    };
    const openFromFiles = async (w, reason) => {
        const back = await w.must('run_command', { command: 'cat kept.txt' });
        assert.equal(back.output, 'kept');
        assert.equal(back.fidelity, 'files');
        assert.match(back.fidelity_reason, reason);
        const shown = await w.must('workspace_get');
        assert.equal(shown.fidelity, 'files');
        assert.match(shown.fidelity_reason, reason);
        // And from here on it is like any other.
        await w.hibernate();
        assert.equal((await w.must('workspace_wake')).fidelity, 'memory');
    };
    const flip = (path, at) => {
        const file = openSync(path, 'r+');
        const byte = Buffer.alloc(1);
        readSync(file, byte, 0, 1, at);
        byte[0] ^= 1;
        writeSync(file, byte, 0, 1, at);
        closeSync(file);
    };
    const pages = (dir) => join(dir, imageFiles(dir).pages);
    const damages = {
        'flipped in its pages': [(dir) => flip(pages(dir), Math.floor(random() * statSync(pages(dir)).size)), /^damaged: /],
        'flipped in its state': [(dir) => flip(join(dir, imageFiles(dir).state), 100), /^damaged: /],
        'flipped in its manifest': [(dir) => flip(join(dir, 'manifest.json'), 50), /^damaged: /],
        'cut': [(dir) => truncateSync(pages(dir), 4096), /^damaged: /],
        'without one of its files': [(dir) => rmSync(join(dir, imageFiles(dir).index)), /^damaged: /],
        'gone': [(dir) => rmSync(dir, { recursive: true }), /^missing: /],
    };
    for (const [what, [spoil, reason]] of Object.entries(damages)) {
        test(`an image that is ${what}`, { timeout: 120_000 }, async () => {
            const { w } = await fresh();
            await w.hibernate();
            spoil(imageOf(w));
            await openFromFiles(w, reason);
            await end(w);
        });
    }

    test('images that were swapped, and one that was replayed', { timeout: 120_000 }, async () => {
        const [one, other] = [await fresh(), await fresh()];
        await one.w.hibernate();
        await other.w.hibernate();
        const [a, b] = [imageOf(one.w), imageOf(other.w)];
        renameSync(a, `${a}-aside`);
        renameSync(b, a);
        renameSync(`${a}-aside`, b);
        await openFromFiles(one.w, /^not_ours: /);
        await openFromFiles(other.w, /^not_ours: /);
        await end(one.w);

        await other.w.hibernate();
        const old = join(berth().directory, 'old-image');
        cpSync(imageOf(other.w), old, { recursive: true });
        await other.w.must('workspace_wake');
        await other.w.hibernate();
        const present = imageOf(other.w);
        rmSync(present, { recursive: true });
        cpSync(old, present, { recursive: true });
        rmSync(old, { recursive: true });
        await openFromFiles(other.w, /^not_ours: /);
        await end(other.w);
        await lonely(0);
    });

    test(`kill -9 of the server at any moment of sleep and wake keeps the memory (SEED=${seed})`, { timeout: 300_000 }, async (t) => {
        const { w, program, count } = await fresh();
        t.diagnostic(JSON.stringify(await killServerAsleep(berth(), w, count, faults, random)));
        await lonely(1);
        await end(w);
        assert.equal(program.process_id.startsWith('p-'), true);
        assert.equal((await metrics(berth()))('berth_images'), 0);
    });

    test(`kill -9 of the sandbox at any moment of sleep and wake (SEED=${seed})`, { timeout: 300_000 }, async (t) => {
        const seen = {};
        const slots = () => processes(`${berth().data}/sandboxes/slots`);
        for (const step of ['workspace_hibernate', 'workspace_wake']) {
            for (let n = 0; n < faults; n++) {
                const { w, count } = await fresh();
                await count();
                if (step === 'workspace_wake') await w.hibernate();
                const call = w.call(step);
                await pause(random() * 120);
                // Every runtime process of every sandbox of this server: runsc's own programs and what stands in stock too.
                for (const [pid] of slots()) {
                    try {
                        process.kill(pid, 'SIGKILL');
                    } catch { /* it has ended */ }
                }
                const answer = await call;
                let back = await w.call('run_command', { command: 'cat kept.txt' });
                // At most the call that meets the dying sandbox fails.
                if (back.failed) back = await w.call('run_command', { command: 'cat kept.txt' });
                assert.equal(back.structured?.output, 'kept', back.text);
                const { fidelity, fidelity_reason } = await w.must('workspace_get');
                const told = `${step} ${answer.failed ? 'failed' : 'done'}, ${fidelity}`;
                seen[told] = (seen[told] ?? 0) + 1;
                if (fidelity === 'memory') await count();
                else assert.ok(fidelity_reason, 'it does not say why');
                await end(w);
            }
        }
        t.diagnostic(JSON.stringify(seen));
        await lonely(0);
    });

    test(`kill -9 of the guest while its workspace sleeps, is copied or goes back (SEED=${seed})`, { timeout: 300_000 },
        async (t) => {
            const seen = {};
            for (const [step, args] of [['workspace_hibernate', {}], ['workspace_snapshot', {}], ['workspace_fork', { count: 2 }],
                ['workspace_restore', { snapshot: 'then' }]]) {
                const { w, count } = await fresh();
                await w.must('workspace_snapshot', { name: 'then' });
                const [answer] = await Promise.all([
                    pause(random() * 40).then(() => w.call(step, args)),
                    w.call('run_command', { command: `sleep 0.0${Math.floor(random() * 10)}; kill -9 1` }),
                ]);
                // What slept before its kill kills when it wakes: that is over before anything is asked for.
                await w.call('run_command', { command: 'sleep 0.2' });
                let back = await w.call('run_command', { command: 'cat kept.txt' });
                // At most the call that meets the dying sandbox fails.
                if (back.failed) back = await w.call('run_command', { command: 'cat kept.txt' });
                assert.equal(back.structured?.output, 'kept', back.text);
                const { fidelity, fidelity_reason, state } = await w.must('workspace_get');
                assert.equal(state, 'running');
                if (fidelity === 'files') assert.ok(fidelity_reason, 'it does not say why');
                else await count();
                const told = `${step} ${answer.failed ? 'failed' : 'done'}, ${fidelity}`;
                seen[told] = (seen[told] ?? 0) + 1;
                for (const one of answer.structured?.workspaces ?? []) {
                    const fork = Sleeper.of(berth(), one.workspace_id);
                    let kept = await fork.call('run_command', { command: 'cat kept.txt' });
                    if (kept.failed) kept = await fork.call('run_command', { command: 'cat kept.txt' });
                    assert.equal(kept.structured?.output, 'kept', kept.text);
                    await end(fork);
                }
                await end(w);
            }
            t.diagnostic(JSON.stringify(seen));
            await lonely(0);
        });

    test('a workspace that sleeps is deleted with its image, also over a kill', { timeout: 120_000 }, async () => {
        const { w } = await fresh();
        await w.hibernate();
        const gone = w.call('workspace_delete').catch(() => {});
        await pause(random() * 10);
        await berth().crash();
        await gone;
        await berth().serve();
        w.reconnect(berth());
        const listed = (await w.client.call('workspace_list')).structured.workspaces.map((one) => one.workspace_id);
        if (listed.includes(w.id)) {
            assert.equal((await w.must('workspace_wake')).fidelity, 'memory');
            await w.must('workspace_delete');
        }
        assert.ok(!readdirSync(join(berth().data, 'images')).includes(w.id));
        w.close();
        await lonely(0);
    });
}, toolsets);

suite((berth) => {
    test('a disk without room refuses the sleep, and the workspace goes on', { timeout: 120_000 }, async () => {
        const images = join(berth().data, 'images');
        await berth().crash();
        mkdirSync(images, { recursive: true });
        execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m,mode=0700', 'full', images]);
        try {
            await berth().serve();
            const w = await Sleeper.create(berth(), { files: { 'kept.txt': 'kept' } });
            const program = await w.start(counter);
            await program.hear(/ready/);
            const refused = await w.call('workspace_hibernate');
            assert.ok(refused.failed);
            assert.match(refused.text, /no room for a memory image/);
            await program.say('', /count 1;/);
            assert.equal((await w.hibernate({ files_only: true })).state, 'stopped');
            assert.equal(await w.run('cat kept.txt'), 'kept');
            await w.must('workspace_delete');
            w.close();
            await berth().crash();
        } finally {
            execFileSync('umount', [images]);
        }
        await berth().serve();
    });

    test('a disk that fills up while the memory is written', { timeout: 180_000 }, async (t) => {
        const images = join(berth().data, 'images');
        const [disk, filler] = [join(berth().directory, 'disk'), join(images, 'filler')];
        await berth().crash();
        mkdirSync(images, { recursive: true });
        execFileSync('truncate', ['-s', '2G', disk]);
        execFileSync('mkfs.ext4', ['-q', disk]);
        execFileSync('mount', ['-o', 'loop', disk, images]);
        try {
            await berth().serve();
            const w = await Sleeper.create(berth(), { files: { 'kept.txt': 'kept' } });
            const program = await w.start(counter.replace('16 << 20', '512 << 20'));
            await program.hear(/ready/);
            let counted = 0;
            for (const [tool, told] of [
                ['workspace_hibernate', (answer) => assert.ok(answer.failed)],
                ['workspace_snapshot', (answer) => assert.equal(answer.structured.fidelity, 'files')],
                ['workspace_fork', (answer) => assert.equal(answer.structured.fidelity, 'files')],
            ]) {
                const aside = join(images, '.aside');
                const call = w.call(tool);
                // At once when it begins, which is some time before the last page: by then the disk is full.
                while (readdirSync(aside).length === 0) await new Promise(setImmediate);
                const { bavail, bsize } = statfsSync(images);
                try {
                    execFileSync('fallocate', ['-l', `${bavail * bsize}`, filler], { stdio: 'ignore' });
                } catch { /* the pages had some of it first: what there was is taken all the same */ }
                const answer = await call;
                t.diagnostic(`${tool}: ${answer.text.slice(0, 300)}`);
                told(answer);
                assert.match(answer.text, /no space|no room|No space/);
                rmSync(filler);
                await program.say('', new RegExp(`count ${++counted};`));
                assert.deepEqual(readdirSync(aside), []);
                for (const one of answer.structured?.workspaces ?? []) {
                    const fork = Sleeper.of(berth(), one.workspace_id);
                    assert.equal(await fork.run('cat kept.txt'), 'kept');
                    await end(fork);
                }
            }
            await w.hibernate();
            await program.say('', new RegExp(`count ${++counted};`));
            await end(w);
            await berth().crash();
        } finally {
            execFileSync('umount', [images]);
        }
        await berth().serve();
    });
}, toolsets);

// Everything of the server's on a small disk, as where one partition is all there is.
for (const compression of ['none', 'zstd']) {
    suite((berth) => {
        // Native ones lose a write now and then that `sync` had followed, once the disk below their volume was full. That is a fault,
        // not understood yet, and not one of sleep or restore.
        const skip = runtime === 'native' ? 'a native volume on a full disk can lose a write that was synced' : false;
        test(`a full disk at wake and at restore (images: ${compression})`, { timeout: 240_000, skip }, async (t) => {
            const disk = join(berth().directory, 'disk');
            await berth().down();
            mkdirSync(berth().data, { recursive: true });
            execFileSync('truncate', ['-s', '3G', disk]);
            execFileSync('mkfs.ext4', ['-q', '-m', '0', disk]);
            execFileSync('mount', ['-o', 'loop', disk, berth().data]);
            const filler = join(berth().data, 'filler');
            const fill = () => {
                const { bavail, bsize } = statfsSync(berth().data);
                try {
                    execFileSync('fallocate', ['-l', `${bavail * bsize}`, filler], { stdio: 'ignore' });
                } catch { /* what there was is taken all the same */ }
                // And the rest, block by block: what fallocate needs for itself is not in its number.
                execFileSync('sh', ['-c', 'cat /dev/zero >> "$0" 2>/dev/null; sync', `${filler}.rest`]);
                assert.ok(statfsSync(berth().data).bavail * bsize < 64 * 1024);
            };
            const free = () => [filler, `${filler}.rest`].forEach((path) => rmSync(path, { force: true }));
            try {
                await berth().serve();
                const w = await Sleeper.create(berth(), { files: { 'kept.txt': 'kept' } });
                const program = await w.start(counter);
                await program.hear(/ready/);
                let counted = 0;
                const count = async () => program.say('', new RegExp(`count ${++counted};`));
                await count();
                await w.must('workspace_snapshot', { name: 'then' });
                const told = {};

                await w.hibernate();
                fill();
                for (const tool of ['workspace_wake', 'run_command']) {
                    const answer = await w.call(tool, tool === 'run_command' ? { command: 'cat kept.txt' } : {});
                    told[tool] = answer.failed ? answer.text.slice(0, 300) : answer.structured.fidelity ?? answer.structured.output;
                    if (answer.failed) assert.match(answer.text, /no space|no room|disk is full/i);
                    else assert.notEqual(answer.structured.fidelity, 'files', 'the memory was given up');
                }
                free();
                // It sleeps as it slept, or it woke: the memory is there.
                await count();
                assert.equal((await w.must('workspace_get')).fidelity, 'memory');

                await w.run('echo later > kept.txt; sync');
                fill();
                const answer = await w.call('workspace_restore', { snapshot: 'then' });
                told.workspace_restore = answer.text.slice(0, 300);
                free();
                if (answer.failed) {
                    // As it was: its memory, its files, its snapshot.
                    assert.match(answer.text, /no space|no room|disk is full/i);
                    await count();
                    assert.equal(await w.run('cat kept.txt'), 'later\n');
                    assert.equal((await w.must('workspace_restore', { snapshot: 'then' })).fidelity, 'memory');
                }
                assert.equal(await w.run('cat kept.txt'), 'kept');
                const written = (await w.client.call('read_process_output', { process_id: program.process_id, cursor: 0, wait_ms: 0 })).structured.cursor;
                await w.talk(program.process_id, written).say('', /count 2;/);

                // From asleep, too, and over a server that is started on the full disk.
                await w.run('echo later > kept.txt; sync');
                await w.hibernate();
                fill();
                const asleep = await w.call('workspace_restore', { snapshot: 'then' });
                told['workspace_restore, asleep'] = asleep.text.slice(0, 300);
                if (asleep.failed) assert.match(asleep.text, /no space|no room|disk is full/i);
                free();
                if (asleep.failed) {
                    assert.equal(await w.state(), 'hibernated');
                    assert.equal((await w.must('workspace_wake')).fidelity, 'memory');
                    assert.equal(await w.run('cat kept.txt'), 'later\n');
                }
                t.diagnostic(JSON.stringify(told));
                await end(w);
                await until('everything is accounted for', async () => await unaccounted(berth(), new Set()) === '');
            } finally {
                free();
                await berth().down();       // also after a failure, or the disk would be busy
                execFileSync('umount', [berth().data]);
            }
            await berth().serve();
        });
    }, `${toolsets}hibernation: {compression: ${compression}}\n`);
}
