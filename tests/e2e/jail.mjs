// berth-jail around a program that tries what it can: what a browser that a page has taken over would find.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { binary } from './lib/berth.mjs';

const uid = 2 ** 31 - 65_536;      // nobody's

const probe = `
import json, os, socket, sys
def tries(what):
    try:
        return str(what())
    except OSError as error:
        return type(error).__name__
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)
print(json.dumps({
    'ids': [os.getuid(), os.geteuid(), os.getgid(), os.getgroups()],
    'root': sorted(os.listdir('/')), 'etc': sorted(os.listdir('/etc')), 'local': os.listdir('/usr/local'), 'dev': sorted(os.listdir('/dev')),
    'processes': sorted(int(p) for p in os.listdir('/proc') if p.isdigit()),
    'capabilities': [status['CapEff'], status['CapPrm'], status['CapAmb']], 'privileges': status['NoNewPrivs'],
    'interfaces': [name for _, name in socket.if_nameindex()],
    'host': tries(lambda: socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2)),
    'network': tries(lambda: socket.create_connection(('198.51.100.1', 80), 2)),
    'program': tries(lambda: open('/usr/bin/here', 'w')), 'etc_file': tries(lambda: open('/etc/here', 'w')),
    'scratch': tries(lambda: open('/tmp/here', 'w').write('x')), 'descriptors': sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:6],
    'environment': sorted(os.environ),
}), file=sys.stderr)
`;

test('what runs in the jail is nobody, sees no file and process of the host, and reaches nothing', { timeout: 60_000 }, async (t) => {
    if (process.getuid() !== 0) return t.skip('this needs root');
    const outside = createServer((req, res) => { res.end('outside'); });
    await new Promise((done) => { outside.listen(0, '127.0.0.1', done); });
    const jail = spawn(join(dirname(binary), 'berth-jail'), [uid, 80, '/usr/bin/python3', '-c', probe, outside.address().port],
        { stdio: ['pipe', 'ignore', 'pipe'], env: { PATH: '/usr/bin' } });
    let said = '';
    jail.stderr.on('data', (text) => { said += text; });
    const code = await new Promise((done) => { jail.on('close', done); });
    outside.close();
    assert.equal(code, 0, said);
    const seen = JSON.parse(said);
    assert.deepEqual(seen.ids, [uid, uid, uid, []]);
    for (const name of seen.root) assert.match(name, /^(bin|dev|etc|lib\d*|libx32|proc|sbin|sys|tmp|usr|var)$/);
    for (const name of seen.etc) assert.match(name, /^(alternatives|fonts|ld\.so\.cache|localtime)$/);
    assert.deepEqual(seen.local, []);
    assert.deepEqual(seen.dev, ['fd', 'full', 'null', 'random', 'shm', 'urandom', 'zero']);
    assert.deepEqual(seen.processes, [1]);
    assert.deepEqual(seen.capabilities, Array(3).fill('0'.repeat(16)));
    assert.equal(seen.privileges, '1');
    assert.deepEqual(seen.interfaces, ['lo']);
    assert.equal(seen.host, 'ConnectionRefusedError');
    assert.equal(seen.network, 'OSError');            // network is unreachable
    assert.equal(seen.program, 'OSError');            // read-only
    assert.equal(seen.etc_file, 'OSError');
    assert.equal(seen.scratch, '1');
    assert.deepEqual(seen.descriptors.slice(0, 5), [0, 1, 2, 3, 4]);
    assert.deepEqual(seen.environment.filter((name) => name !== 'LC_CTYPE'), ['PATH']);
});

test('the jail ends with whoever holds its wire', { timeout: 60_000 }, async (t) => {
    if (process.getuid() !== 0) return t.skip('this needs root');
    const jail = spawn(join(dirname(binary), 'berth-jail'), [uid, 80, '/usr/bin/python3', '-c', 'import sys, time; print("in", file=sys.stderr, flush=True); time.sleep(600)'],
        { stdio: ['pipe', 'ignore', 'pipe'], env: { PATH: '/usr/bin' } });
    await new Promise((done) => { jail.stderr.once('data', done); });
    jail.stdin.destroy();
    assert.equal(await new Promise((done) => { jail.on('exit', done); }), 128 + 9);
});
