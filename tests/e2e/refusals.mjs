// Starts that cannot be: each is one line that says what is wrong, with a status that is not 0, and nothing is left running or mounted.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { Berth, binary, elsewhere, missing } from './lib/berth.mjs';
import { groupParents, mounts, processes } from './lib/remains.mjs';

const skip = missing() || false;
const limit = { skip, timeout: 120_000 };

let directory, config;
before(() => {
    directory = mkdtempSync(join(tmpdir(), 'berth-refused-'));
    config = join(directory, 'berth.yaml');
    writeFileSync(config, 'pools:\n    base:\n        ready: 1\n        awake: 0\n');
});
after(() => rmSync(directory, { recursive: true }));

/** Ends with { status, said: its lines on stderr without the log's, out, log }. One that starts all the same is stopped, and has no status. */
function run(args, over = {}) {
    const [program, ...rest] = elsewhere(over, [binary, ...args]);
    const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (text) => { out += text; });
    child.stderr.on('data', (text) => { err += text; });
    const timer = setTimeout(() => child.kill('SIGTERM'), 60_000);
    return new Promise((done) => child.once('close', (code) => {
        clearTimeout(timer);
        const lines = err.split('\n').filter((line) => line !== '');
        done({ status: code, out, log: err, said: lines.filter((line) => !line.startsWith('[')) });
    }));
}

/** It was refused in one line, which matches, and nothing is left of it. */
async function refused(args, pattern, { over, data } = {}) {
    const { status, said, log } = await run(args, over);
    assert.equal(status, 1, log);
    assert.equal(said.length, 1, log);
    assert.match(said[0], pattern);
    assert.match(said[0], /^berth: /);
    if (!data) return;
    assert.deepEqual(processes(data), [], log);
    assert.deepEqual(mounts(data), [], log);
    assert.deepEqual(groupParents(data), [], log);
}

const serve = (data, ...more) => ['serve', '--data', data, '--listen', '127.0.0.1:0', '--config', config, ...more];

/** A small file system for `use`, which is told where it is. */
async function disk(name, options, use) {
    const at = join(directory, name);
    mkdirSync(at);
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, name, at]);
    try {
        await use(at);
    } finally {
        execFileSync('umount', [at]);
    }
}

test('the port is in use', limit, async () => {
    const data = join(directory, 'port');
    const other = createServer();
    await new Promise((done) => other.listen(0, '127.0.0.1', done));
    const { port } = other.address();
    try {
        await refused(['serve', '--data', data, '--listen', `127.0.0.1:${port}`, '--config', config],
            new RegExp(`127\\.0\\.0\\.1.*${port}.*in use`, 'i'), { data });
    } finally {
        other.close();
    }
});

test('the data directory cannot be written', limit, async () => {
    await disk('readonly', 'size=1m', async (at) => {
        mkdirSync(join(at, 'there'), { mode: 0o700 });
        execFileSync('mount', ['-o', 'remount,ro', at]);
        for (const name of ['there', 'new']) {
            await refused(serve(join(at, name)), new RegExp(`readonly/${name}.*read-only file system`, 'i'), { data: join(at, name) });
        }
    });
    const file = join(directory, 'file');
    writeFileSync(file, '');
    await refused(serve(file), /\/file.*not a directory/i);
    await refused(serve(join(file, 'below')), /\/file\/below.*not a directory/i);
    await refused(serve(join(directory, 'no', 'such')), /\/no\/such.*no such file or directory/i);
});

test('the disk is full', limit, async () => {
    // Nothing at all, too little for the records, and enough for those but not for what comes after them.
    for (const free of [0, 8, 64, 200, 1000]) {
        await disk(`full${free}`, 'size=8m', async (at) => {
            const data = join(at, 'data');
            mkdirSync(data, { mode: 0o700 });
            const { bavail, bsize } = statfsSync(at);
            execFileSync('fallocate', ['-l', `${bavail * bsize - free * 1024}`, join(at, 'filler')]);
            await refused(serve(data), /no space|disk is full/i, { data });
        });
    }
});

test('the data directory is of a newer version', limit, async () => {
    const data = join(directory, 'newer');
    const berth = await Berth.start();
    await berth.down();
    execFileSync('cp', ['-a', berth.data, data]);
    await berth.stop();
    const records = join(data, 'registry.sqlite');
    const database = new DatabaseSync(records);
    const known = database.prepare('PRAGMA user_version').get().user_version;
    database.exec('PRAGMA user_version = 9999');
    database.close();
    const bytes = readFileSync(records);
    await refused(serve(data), new RegExp(`registry\\.sqlite is of version 9999, this build knows up to ${known}`), { data });
    assert.ok(readFileSync(records).equals(bytes), 'it was changed all the same');
});

test('an address beyond this machine without TLS', limit, async () => {
    const data = join(directory, 'public');
    for (const address of ['0.0.0.0:0', '192.0.2.1:7777']) {
        await refused(['serve', '--data', data, '--listen', address, '--config', config],
            new RegExp(`refusing to listen on ${address.split(':')[0].replaceAll('.', '\\.')} without TLS.*listen\\.tls_certificate`));
    }
    assert.ok(!existsSync(data), 'a data directory was made all the same');
});

test('a token that others can read', limit, async () => {
    const data = join(directory, 'token');
    mkdirSync(data, { mode: 0o700 });
    writeFileSync(join(data, 'token'), 'berth-0123456789012345678901234567890123\n', { mode: 0o644 });
    await refused(serve(data), /token can be read by others: run chmod 600/, { data });
});

const runsc = skip ? '' : execFileSync('sh', ['-c', 'command -v runsc || true'], { encoding: 'utf8' }).trim();
const noRunsc = { ...limit, skip: skip || (runsc === '' && 'there is no runsc to replace') };

/** A program that says it is a runsc of that release, and does nothing else. */
function stub(release) {
    const file = join(directory, `runsc-${release}`);
    writeFileSync(file, `#!/bin/sh\necho "runsc version release-${release}.0"\necho "spec: 1.0.2-dev"\n[ "$1" = --version ]\n`);
    chmodSync(file, 0o755);
    return { [runsc]: file };
}

test('runsc is missing', noRunsc, async () => {
    const data = join(directory, 'missing');
    await refused(serve(data), /runsc.*not installed.*scripts\/setup/, { data, over: { [runsc]: '/dev/null' } });
});

test('runsc is too old', noRunsc, async () => {
    const data = join(directory, 'old');
    const over = stub('20220103');
    await refused(serve(data), /runsc version release-20220103\.0, too old: \d{8} or newer is needed; .*scripts\/setup/, { data, over });
    // And once more, when the directory is there.
    await refused(serve(data), /too old/, { data, over });
    const doctor = await run(['doctor', '--data', data, '--config', config], over);
    assert.equal(doctor.status, 1);
    assert.match(doctor.out, /^MISS runsc +runsc version release-20220103\.0: older than \d{8}/m);
    assert.match(doctor.out, /^MISS runsc.*\n +-> .*scripts\/setup/m);
    assert.match(doctor.out, /^MISS sandbox +.*too old/m);
});

test('a client that starts its own server is told the same', noRunsc, async () => {
    const data = join(directory, 'stdio');
    const [program, ...args] = elsewhere(stub('20220103'), [binary, 'stdio', '--data', data, '--config', config]);
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (text) => { said += text; });
    child.stdin.write('{"jsonrpc":"2.0","id":1,"method":"ping"}\n');
    assert.equal(await new Promise((done) => child.once('close', done)), 1);
    assert.match(said, /^berth: [^\n]*too old[^\n]*\n$/);
});
