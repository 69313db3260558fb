// Workspaces on the machine's own kernel: the same tools give the same answers, what they are is shown, and nobody gets one whom the
// operator did not allow it. What they keep over a sleep is in native_sleep.mjs.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { Berth, missing } from './lib/berth.mjs';
import { Sleeper, metrics, until } from './lib/sleeper.mjs';
import { suite } from './lib/suite.mjs';

const config = 'toolsets: [core, files, lifecycle]\nnative:\n    allow: true\n    templates: [base]\n    ready: 2\n';

suite((berth) => {
    test('commands, files, terminals and ports', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth(), { name: 'native', files: { 'src/a.txt': 'from a tool\n' }, env: { KEPT: 'yes' } });
        assert.equal((await w.must('workspace_get')).runtime, 'native');
        assert.equal(await w.run('cat src/a.txt; echo $KEPT; id -u; stat -c %u src/a.txt'), 'from a tool\nyes\n0\n0\n');
        await w.run('echo from inside > src/b.txt; mkdir deep; chown 1000 deep');
        assert.match((await w.call('read_file', { path: 'src/b.txt' })).text, /from inside/);
        // Kept as any other workspace's are: nothing of the sandbox's own numbers reaches the disk.
        const owners = execFileSync('find', [`${berth().data}/volumes`, '-printf', '%U\n'], { encoding: 'utf8' });
        assert.deepEqual([...new Set(owners.trim().split('\n'))].sort(), ['0', '1000']);
        assert.match(await w.run('grep Seccomp: /proc/self/status; cat /proc/net/dev | wc -l'), /Seccomp:\s+2\n3\n/);

        const shell = await w.start('bash --norc -i', { pty: true });
        await shell.say('n=41; tty; echo is:$((n + 1)):', /\/dev\/pts\/\d+[\s\S]*is:42:/);
        await w.start('python3 -m http.server --bind 127.0.0.1 8123');
        assert.match(await w.run('for i in $(seq 100); do curl -s localhost:8123 && break; sleep 0.1; done'), /src/);
        // The rest of the template can be changed, in this workspace alone.
        await w.run('mv /etc/apt /etc/apt.moved && test ! -e /etc/apt && echo x > /usr/local/bin/x && rm -r /usr/share/doc');
        const other = await Sleeper.create(berth());
        await other.run('test -d /etc/apt && test ! -e /usr/local/bin/x && test -d /usr/share/doc');
        await other.must('workspace_delete');
        await w.must('workspace_delete');
        other.close();
        w.close();
    });

    test('sleep by wish keeps the files alone', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth(), { name: 'sleepy' });
        await w.run('echo kept > note');
        const slept = await w.hibernate({ files_only: true });
        assert.equal(slept.fidelity, 'files');
        assert.equal(await w.run('cat note'), 'kept\n');
        const shown = await w.must('workspace_get');
        assert.equal(shown.runtime, 'native');
        assert.equal(shown.fidelity, 'files');
        await w.must('workspace_delete');
        w.close();
    });

    test('gVisor beside it, for whom it asks', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth(), { runtime: 'gvisor' });
        assert.equal((await w.must('workspace_get')).runtime, 'gvisor');
        assert.match(await w.run('dmesg'), /gVisor/);
        await w.must('workspace_delete');
        w.close();
    });

    test('what each runs in is told, and counted', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth(), { name: 'seen' });
        const other = await Sleeper.create(berth(), { runtime: 'gvisor' });
        for (const [one, runtime] of [[w, 'native'], [other, 'gvisor']]) {
            assert.match((await one.call('workspace_get')).text, new RegExp(`${one.id}: \\w+ \\(${runtime}\\)`));
            const list = await one.client.call('workspace_list', {});
            assert.match(list.text, new RegExp(`^${one.id}  \\w+  ${runtime}  `, 'm'));
            assert.equal(list.structured.workspaces.find((shown) => shown.workspace_id === one.id).runtime, runtime);
        }
        const count = await metrics(berth());
        for (const runtime of ['native', 'gvisor']) assert.equal(count(`berth_workspaces_by_runtime{runtime="${runtime}"}`), 1);
        await until('the stock is told', async () => (await metrics(berth()))('berth_pool_ready{template="base",runtime="native"}') > 0);
        // Who asks for a name that is taken is told that it is not of the kind he asked for.
        const again = await w.client.call('workspace_create', { name: 'seen', runtime: 'gvisor' });
        assert.equal(again.structured.runtime, 'native');
        assert.match(again.text, /runtime of this call were not applied/);
        for (const one of [w, other]) {
            await one.must('workspace_delete');
            one.close();
        }
    });

    test('a limit ends the one that reaches it', { timeout: 120_000 }, async () => {
        const w = await Sleeper.create(berth(), { files: { note: 'kept\n' }, limits: { memory: '128MiB' } });
        const neighbour = await Sleeper.create(berth());
        await w.call('run_command', { command: `python3 -c 'x = b"x" * (1 << 30)'` });
        // The kernel ends the process; that it did is told to the server, which ends the rest, a moment later.
        await until('the workspace says why it ended', async () => /out of memory/.test((await w.must('workspace_get')).last_error ?? ''));
        // Its files are there, and the next command starts it again.
        assert.equal(await w.run('cat note'), 'kept\n');
        assert.equal(await neighbour.run('echo well'), 'well\n');
        for (const one of [w, neighbour]) {
            await one.must('workspace_delete');
            one.close();
        }
    });
}, config);

test('nobody gets one whom the operator did not allow it', { timeout: 120_000, skip: missing() || false }, async () => {
    const berth = await Berth.start();
    try {
        const w = Sleeper.of(berth, undefined);
        const refused = await w.call('workspace_create', { runtime: 'native' });
        assert.ok(refused.failed);
        assert.match(refused.text, /native workspaces are not allowed on this server/);
        w.close();
    } finally {
        await berth.stop();
    }
});
