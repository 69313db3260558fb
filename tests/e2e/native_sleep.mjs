// Native workspaces keep their memory as gVisor's do: everything that runs, over sleep, snapshots, forks, a server that is killed, and
// images that cannot be used. Without CRIU they keep their files, and say so.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Sleeper, killServerAsleep } from './lib/sleeper.mjs';
import { suite } from './lib/suite.mjs';

const config = 'toolsets: [core, files, lifecycle]\nnative:\n    allow: true\n    templates: [base]\n    ready: 1\n';
const faults = Number(process.env.BERTH_FAULTS ?? 6);

const places = ['/usr/local/lib/berth/criu/program', '/usr/local/sbin/criu', '/usr/sbin/criu', '/usr/bin/criu'];
const skip = places.some((path) => existsSync(path)) ? false : 'CRIU is not installed (scripts/setup)';

// Memory, a file that has no name any more, a connection within the workspace, a thread, and a port that listens.
const program = `
import os, socket, sys, threading
memory = os.urandom(4 << 20)
whole = hash(memory)
gone = open('/tmp/gone', 'w+')
gone.write('still here')
gone.flush()
os.unlink('/tmp/gone')
listener = socket.create_server(('127.0.0.1', 8010))
near = socket.create_connection(('127.0.0.1', 8010))
far, _ = listener.accept()
near.sendall(b'on its way')
def serve():
    while True:
        listener.accept()[0].sendall(b'served')
threading.Thread(target=serve, daemon=True).start()
print('ready', os.getpid(), flush=True)
n, sent = 0, b'on its way'
for line in sys.stdin:
    n += 1
    assert hash(bytes(memory)) == whole, 'memory'
    gone.seek(0)
    assert gone.read() == 'still here', 'the file without a name'
    got = far.recv(100)
    assert got == sent, 'connection'
    sent = b'round %d' % n
    near.sendall(sent)
    print(f'count {n} of {os.getpid()};', flush=True)
`;

suite((berth) => {
    const fresh = async (args = {}) => {
        const w = await Sleeper.create(berth(), { files: { 'kept.txt': 'kept', 'program.py': program }, ...args });
        const talk = await w.start('exec python3 program.py');
        const [, pid] = await talk.hear(/ready (\d+)/);
        let counted = 0;
        const count = async (other = talk) => { await other.say('', new RegExp(`count ${++counted} of ${pid};`)); };
        return { w, talk, pid, count };
    };
    const end = async (w) => {
        await w.must('workspace_delete');
        w.close();
    };
    const imageOf = (w) => {
        const home = join(berth().data, 'images', w.id);
        return join(home, readdirSync(home)[0]);
    };

    test('sleep after sleep keeps processes, terminals, files and connections', { timeout: 180_000, skip }, async (t) => {
        const { w, count } = await fresh({ name: 'asleep' });
        const shell = await w.start('bash --norc -i', { pty: true });
        await shell.say('secret=$((6 * 7)); cd /tmp; echo set:$secret:', /set:42:/);
        // The rest of the template too: written, deleted and renamed.
        await w.run('echo x > /usr/local/bin/x; rm -r /usr/share/doc; mv /etc/apt /etc/apt.moved; chown 1000 /usr/local/bin/x');
        const times = [];
        for (let round = 1; round <= 4; round++) {
            await count();
            const slept = await w.hibernate();
            assert.equal(slept.state, 'hibernated');
            assert.equal(slept.fidelity, 'memory');
            const woken = await w.must('workspace_wake');
            assert.equal(woken.fidelity, 'memory', woken.fidelity_reason);
            times.push([slept.took_ms, woken.took_ms].map(Math.round));
            await shell.say(`echo is:$secret:$PWD:${round}:`, new RegExp(`is:42:/tmp:${round}:`));
            assert.equal(await w.run('python3 -c \'import socket; print(socket.create_connection(("127.0.0.1", 8010)).recv(9).decode())\''), 'served\n');
            assert.equal(await w.run('cat /usr/local/bin/x; stat -c %u /usr/local/bin/x; test ! -e /usr/share/doc && ls -d /etc/apt*'),
                'x\n1000\n/etc/apt.moved\n');
            assert.match(await w.run('cat /run/berth/generation; hostname; grep Seccomp: /proc/self/status'), /restored\nasleep\nSeccomp:\s+2\n/);
            assert.equal(await w.run('cat /workspace/kept.txt; echo > /workspace/new; stat -c %u /workspace/new'), 'kept0\n');
        }
        await count();
        t.diagnostic(`sleep and wake in ms: ${JSON.stringify(times)}`);
        const ports = await w.must('workspace_get');
        assert.equal(ports.runtime, 'native');
        await end(w);
    });

    test('snapshots, restored twice, and forks beside each other', { timeout: 180_000, skip }, async () => {
        const { w, talk, count, pid } = await fresh();
        await count();
        await w.run('echo then > kept.txt; echo then > /usr/local/bin/x');
        const made = await w.must('workspace_snapshot', { name: 'then' });
        assert.equal(made.fidelity, 'memory');
        for (let round = 0; round < 2; round++) {
            await w.run('echo now > kept.txt; echo now > /usr/local/bin/x');
            assert.equal((await w.must('workspace_restore', { snapshot: 'then' })).fidelity, 'memory');
            assert.equal(await w.run('cat kept.txt /usr/local/bin/x'), 'then\nthen\n');
            await w.talk(talk.process_id, 0).say('', new RegExp(`count 2 of ${pid};`));
        }
        const forked = await w.must('workspace_fork', { count: 3 });
        assert.equal(forked.fidelity, 'memory');
        const copies = forked.workspaces.map((one) => Sleeper.of(berth(), one.workspace_id));
        for (const [i, copy] of copies.entries()) {
            const own = forked.workspaces[i].processes.find((p) => p.origin === talk.process_id).process_id;
            await copy.talk(own, 0).say('', new RegExp(`count 3 of ${pid};`));
            assert.match(await copy.run('cat /run/berth/generation; cat /usr/local/bin/x; stat -c %u /usr/local/bin/x'), /forked\nthen\n0\n/);
            await copy.run(`echo ${i} > kept.txt; echo ${i} > /usr/local/bin/x`);
        }
        assert.equal(await w.run('cat kept.txt /usr/local/bin/x'), 'then\nthen\n');
        // Each has user ids of its own on this machine.
        const ids = new Set();
        for (const one of [w, ...copies]) ids.add((await one.run('cat /proc/self/uid_map')).trim());
        assert.equal(ids.size, 4, [...ids].join('; '));
        for (const one of copies) {
            assert.equal((await one.hibernate()).fidelity, 'memory');
            assert.match(await one.run('cat kept.txt'), /^[012]\n$/);
        }
        for (const one of [w, ...copies]) await end(one);
    });

    test('a file that a sleeper has open is written: it wakes first, and keeps its memory', { timeout: 180_000, skip }, async () => {
        const { w, count } = await fresh();
        const holder = await w.start('echo holding; while exec 8< kept.txt; read line; do echo "says $(cat kept.txt);"; done');
        await holder.hear(/holding/);
        const upload = async (path, body) => {
            const { url } = await w.must('get_transfer_url', { path, direction: 'upload' });
            const answer = await fetch(url, { method: 'PUT', body });
            assert.equal(answer.status, 201, await answer.text());
        };
        const writes = {
            'a longer text': () => w.must('write_file', { path: 'kept.txt', content: 'a longer text' }),
            'an even longer text': () => w.must('edit_file', { path: 'kept.txt', edits: [{ old_string: 'a longer', new_string: 'an even longer' }] }),
            'an even longer text, and more': () => w.must('write_file', { path: 'kept.txt', content: ', and more', mode: 'append' }),
            'sent': () => upload('kept.txt', 'sent'),
        };
        for (const [text, write] of Object.entries(writes)) {
            await count();
            await w.hibernate();
            // What is new is nobody's, and wakes nobody.
            await w.must('write_file', { path: `new/${text.length}`, content: text });
            await upload(`new/sent-${text.length}`, text);
            assert.equal(await w.state(), 'hibernated');
            const done = await write();
            if (done) assert.equal(done.fidelity, 'memory');
            assert.equal((await w.must('workspace_get')).fidelity, 'memory');
            await count();
            await holder.say('', new RegExp(`says ${text};`));
        }
        // Without memory there is nothing to lose, and nothing to wake for.
        await w.hibernate({ files_only: true });
        assert.equal((await w.must('write_file', { path: 'kept.txt', content: 'while it is stopped' })).fidelity, undefined);
        assert.equal(await w.state(), 'stopped');
        await end(w);
    });

    test('an image that cannot be used: it starts from its files, and says why', { timeout: 180_000, skip }, async () => {
        const { w } = await fresh();
        await w.hibernate();
        truncateSync(join(imageOf(w), 'pages-1.img'), 4096);
        const back = await w.must('run_command', { command: 'cat kept.txt' });
        assert.equal(back.output, 'kept');
        assert.equal(back.fidelity, 'files');
        assert.match(back.fidelity_reason, /^damaged: /);
        await w.hibernate();
        assert.equal((await w.must('workspace_wake')).fidelity, 'memory');
        await end(w);
    });

    test('kill -9 of the server at any moment of sleep and wake keeps the memory', { timeout: 300_000, skip }, async (t) => {
        const { w, count } = await fresh();
        t.diagnostic(JSON.stringify(await killServerAsleep(berth(), w, count, faults)));
        await end(w);
    });

    test('without CRIU sleep keeps the files, and says why not the memory', { timeout: 120_000, skip: skip ? false : 'CRIU is here' }, async () => {
        const w = await Sleeper.create(berth(), { files: { note: 'kept' } });
        const refused = await w.call('workspace_hibernate');
        assert.ok(refused.failed);
        assert.match(refused.text, /native workspace cannot keep its memory here: [\s\S]*criu[\s\S]*goes on running[\s\S]*files_only: true/i);
        assert.equal(await w.run('cat note'), 'kept');
        await end(w);
    });
}, config);
