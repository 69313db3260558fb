// Runs the benchmark with a few measurements a row. Looks at the shape of what it says, never at the times.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';

const run = promisify(execFile);
const program = process.env.BERTH_BENCH ?? 'build/release/bin/berth-bench';
const installed = process.env.BERTH_BENCH_PEERS ?? 'build/node-bench';
// As scripts/bench stamps what it installs: peers of another lock file are not those that the rows start.
const manifest = ['package.json', 'package-lock.json'].map((name) => readFileSync(join(import.meta.dirname, '../../bench/peers', name)));
const stamp = createHash('sha256').update(Buffer.concat(manifest)).digest('hex').slice(0, 16);
const current = existsSync(join(installed, 'stamp')) && readFileSync(join(installed, 'stamp'), 'utf8').trim() === stamp;
const peers = current ? ['--peers', installed] : [];
const limit = { timeout: 900_000, maxBuffer: 16 << 20 };

const why = process.getuid() !== 0 ? 'this needs root'
    : !existsSync('/var/lib/berth/templates/base/rootfs') ? 'the base template is missing (scripts/setup)' : false;

const directory = mkdtempSync(join(tmpdir(), 'berth-bench-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const scratch = () => readdirSync('/var/tmp').filter((name) => name.startsWith('berth-bench-'));
const mounts = () => readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
    .filter((line) => line.includes(' /var/tmp/berth-bench-'));

async function measured(...options) {
    const json = join(directory, 'out.json');
    const { stdout, stderr } = await run(program, ['--json', json, ...options], limit);
    return { entries: JSON.parse(readFileSync(json, 'utf8')), table: stdout, said: stderr };
}

function check(entry) {
    for (const key of ['row', 'what', 'unit']) assert.equal(typeof entry[key], 'string', `${key} of ${entry.row}`);
    assert.ok(Number.isInteger(entry.n) && entry.n > 0, `n of ${entry.row}`);
    for (const key of ['p50', 'p95', 'p99']) {
        assert.ok(Number.isFinite(entry[key]) && entry[key] >= 0, `${key} of ${entry.row}`);
    }
    assert.ok(entry.p50 <= entry.p95 && entry.p95 <= entry.p99, `order of ${entry.row}`);
    if (entry.beside === null) {
        assert.equal(entry.beside_p50, null);
        assert.equal(entry.ratio, null);
    } else {
        assert.equal(typeof entry.beside, 'string');
        assert.ok(entry.beside_p50 > 0, `beside_p50 of ${entry.row}`);
        const ratio = entry.p50 / entry.beside_p50;
        assert.ok(Math.abs(entry.ratio - ratio) <= 1e-6 * ratio, `ratio of ${entry.row}`);
    }
    assert.equal(entry.promise === null, entry.met === null, `promise of ${entry.row}`);
}

test('every row is measured, in the table and in the file', { skip: why }, async () => {
    const before = [scratch(), mounts()];
    const { entries, table, said } = await measured('--quick', ...peers);
    entries.forEach(check);
    const rows = [...new Set(entries.map((entry) => entry.row))];
    const loads = ['shell', 'python64', 'node', 'mem256', 'mem1024'];
    const servers = peers.length > 0 ? ['server_call', 'server_rate', 'server_memory', 'server_wake'] : [];
    const native = ['fork_exec', 'files', 'git_status', 'cpp_build', 'compute', 'python_loop', 'tcp_round_trip', 'tcp_stream', 'idle_memory',
        'hibernate', 'wake', ...['npm', 'numpy'].filter((one) => peers.length > 0 && existsSync(join(installed, one)))
            .map((one) => ({ npm: 'npm_install', numpy: 'numpy' })[one])].map((row) => `native/${row}`);
    const wanted = ['start', 'memory', 'create', 'create_to_echo', 'wake_frozen', ...loads.map((load) => `hibernate/${load}`),
        ...loads.map((load) => `wake/${load}`), 'wake_together', 'wake_together/many', 'fork', 'run_true', 'write_4k', 'read_4k',
        'read_rate', 'http_floor', 'pool_drained', 'preview_url', 'preview', 'preview_rate', 'preview_bytes', 'preview_wake',
        'images/random', 'images/records', 'crowd', 'crowd_refused', ...servers, ...native];
    assert.deepEqual(rows.sort(), wanted.sort(), 'others only when asked for');
    if (peers.length === 0) assert.match(table, /server_call: not measured/);
    for (const row of wanted) assert.match(table, new RegExp(`^${row} `, 'm'));
    assert.equal(entries.filter((entry) => entry.row === 'run_true').length, 2);
    const rests = entries.filter((entry) => entry.what.includes('unattributed'));
    assert.equal(rests.length, 2 * loads.length);
    // The same in one table: a column for each place, gVisor and none at least.
    assert.match(table, /^ +\| p50 by turns +\| native +\| gVisor +\|.* bare +\|$/m);
    for (const row of native) {
        const beside = entries.filter((entry) => entry.row === row).map((entry) => entry.beside);
        assert.ok(beside.includes('gVisor'), row);
        assert.ok(beside.includes('bare') || /hibernate|wake/.test(row), row);
    }
    assert.doesNotMatch(said, /left behind/);
    assert.deepEqual([scratch(), mounts()], before);
});

const lacking = why || (peers.length === 0 && 'scripts/bench has not installed the present npm servers');
test('the npm servers stand beside files and calls', { skip: lacking }, async () => {
    const { entries } = await measured('--n', '3', '--only', 'read_4k', '--only', 'http_floor', ...peers);
    const beside = entries.map((entry) => entry.beside);
    for (const name of [/npm filesystem/, /Desktop Commander/, /npm SDK/]) {
        assert.ok(beside.some((b) => name.test(b)), `${name}`);
    }
});

test('density is measured when asked for', { skip: why }, async () => {
    const { entries } = await measured('--n', '3', '--density', '4', '--only', 'density');
    entries.forEach(check);
    const rows = entries.map((entry) => entry.row);
    for (const row of ['fill', 'boots', 'memory', 'threads', 'idle_cpu', 'claim']) {
        assert.ok(rows.includes(`density_${row}`), row);
    }
});

test('hibernated workspaces among others, and self-checking cycles, are measured when asked for', { skip: why }, async () => {
    const { entries } = await measured('--quick', '--only', 'asleep', '--cycles', '2', '--only', 'cycles');
    entries.forEach(check);
    assert.deepEqual(entries.map((entry) => entry.row).sort(), ['asleep/list', 'asleep/wake', 'cycles/hibernate', 'cycles/wake']);
    assert.equal(entries.find((entry) => entry.row === 'cycles/hibernate').met, true);
});

test('an interrupt leaves nothing behind', { skip: why }, async () => {
    const before = [scratch(), mounts()];
    const bench = spawn(program, ['--only', 'create', '--n', '100000'], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    const ended = new Promise((done) => bench.once('exit', (code) => done(code)));
    await new Promise((done) => bench.stderr.on('data', (text) => {
        said += text;
        if (said.includes('create')) setTimeout(done, 3_000);       // somewhere in the middle
    }));
    bench.kill('SIGINT');
    assert.equal(await ended, 130, said);
    assert.match(said, /interrupted/);
    assert.doesNotMatch(said, /left behind/);
    assert.deepEqual([scratch(), mounts()], before);
});

for (const [what, options, reason] of [
    ['an unknown option', ['--fast'], /unknown option --fast/],
    ['an unknown row', ['--only', 'speed'], /there is no row speed/],
    ['a number that is none', ['--n', 'many'], /--n: expected a number/],
    ['a program that is not there', ['--berth', '/nonexistent/berth'], /no program \/nonexistent\/berth/],
    ['npm servers that are not there', ['--peers', '/nonexistent', '--only', 'start'], /scripts\/bench installs/],
]) {
    test(`${what} is refused in one line`, { skip: why }, async () => {
        const error = await run(program, options, limit).then(() => assert.fail('it went on'), (e) => e);
        assert.equal(error.code, 1);
        assert.match(error.stderr, reason);
        assert.equal(error.stderr.trim().split('\n').length, 1, error.stderr);
    });
}
