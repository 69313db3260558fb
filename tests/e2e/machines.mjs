// Machines that lack something, and operators' umasks: what cannot run is refused in a line that says why, the other runtime goes on, and
// none ever stands in for the other. What is lacking is hidden from the server in a mount namespace of its own.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Berth, binary, missing, without } from './lib/berth.mjs';

const run = promisify(execFile);
const skip = missing() || false;
const runsc = skip ? '' : execFileSync('sh', ['-c', 'command -v runsc || true'], { encoding: 'utf8' }).trim();
const native = 'native:\n    allow: true\n';

/** What `berth doctor` says on that machine: its lines. */
async function doctor(berth, hidden) {
    const [program, ...args] = without(hidden, [binary, 'doctor', '--data', join(berth.directory, 'doctor'), '--config', berth.configFile]);
    const said = await run(program, args, { timeout: 60_000 }).then(() => assert.fail('nothing is missing'), (error) => error);
    assert.equal(said.code, 1, said.stderr);
    return said.stdout.split('\n');
}

const line = (lines, start) => lines.find((one) => one.replace(/ +/g, ' ').startsWith(start)) ?? assert.fail(`no ${start} in\n${lines.join('\n')}`);

/** The tool's refusal. */
const refusal = (berth, args) => berth.tool('workspace_create', args).then((made) => assert.fail(JSON.stringify(made)), ({ message }) => message);

async function goesOn(berth, runtime) {
    const made = await berth.tool('workspace_create', { runtime, files: { note: 'kept' } });
    assert.equal(made.runtime, runtime);
    assert.equal((await berth.tool('run_command', { workspace_id: made.workspace_id, command: 'cat note' })).output, 'kept');
    // Nothing else was made in its place.
    assert.deepEqual((await berth.tool('workspace_list')).workspaces.map((w) => w.runtime), [runtime]);
    await berth.tool('workspace_delete', { workspace_id: made.workspace_id });
}

test('without runsc', { skip: skip || (runsc === '' && 'there is no runsc to hide'), timeout: 120_000 }, async (t) => {
    const hidden = [runsc];
    const berth = await Berth.start(native, undefined, { hidden });
    t.after(() => berth.stop());
    await t.test('a workspace is refused, and told how to get it', async () => {
        for (const args of [{}, { runtime: 'gvisor' }]) assert.match(await refusal(berth, args), /runsc.*not installed.*scripts\/setup/s);
    });
    await t.test('native ones go on where they are allowed', () => goesOn(berth, 'native'));
    await t.test('berth doctor says so in a line', async () => {
        const lines = await doctor(berth, hidden);
        assert.match(line(lines, 'MISS runsc'), /not installed/);
        assert.match(line(lines, 'MISS sandbox'), /runsc/);
        assert.match(line(lines, 'ok native sandbox'), /boots and answers/);
    });
    await t.test('a server that does not allow them does not start', () => {
        const config = join(berth.directory, 'strict.yaml');
        writeFileSync(config, '{}\n');
        const [program, ...args] = without(hidden, [binary, 'serve', '--data', join(berth.directory, 'strict'), '--listen', '127.0.0.1:0', '--config', config]);
        const { status, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 60_000 });
        assert.equal(status, 1);
        assert.match(stderr, /runsc.*not installed/);
    });
});

// As container engines mask it: the kernel then gives nobody inside a /proc of his own.
const masked = '/proc/iomem';
test('where the kernel does not give what native ones need', { skip: skip || (!existsSync(masked) && `there is no ${masked}`), timeout: 120_000 }, async (t) => {
    const hidden = [masked];
    const berth = await Berth.start(native, undefined, { hidden });
    t.after(() => berth.stop());
    await t.test('a native one is refused, with what failed', async () => {
        assert.match(await refusal(berth, { runtime: 'native' }), /a \/proc of its own.*not permitted/);
    });
    await t.test("gVisor's go on", () => goesOn(berth, 'gvisor'));
    await t.test('berth doctor says so in a line', async () => {
        const lines = await doctor(berth, hidden);
        assert.match(line(lines, 'MISS native sandbox'), /a \/proc of its own.*not permitted/);
        assert.match(lines[lines.indexOf(line(lines, 'MISS native sandbox')) + 1], /-> native sandboxes need Linux/);
        assert.match(line(lines, 'ok sandbox'), /boots and answers/);
    });
});

test("whatever the operator's umask, the modes inside are the same, and ours stay private", { skip, timeout: 180_000 }, async (t) => {
    const seen = new Map();
    for (const umask of [0o022, 0o077, 0o002]) {
        const berth = await Berth.start(native, undefined, { umask });
        try {
            assert.equal(statSync(join(berth.data, 'token')).mode & 0o777, 0o600);
            assert.equal(statSync(berth.data).mode & 0o007, 0, 'others can look into the data directory');
            for (const runtime of ['gvisor', 'native']) {
                const { workspace_id } = await berth.tool('workspace_create', { runtime, files: { 'dir/note': 'kept' } });
                const inside = async (command) => {
                    const { output, exit_code } = await berth.tool('run_command', { workspace_id, command });
                    assert.equal(exit_code, 0, output);
                    return output;
                };
                const modes = await inside('umask; stat -c "%a %u %n" / /workspace /workspace/dir /workspace/dir/note /home/agent /tmp /dev /dev/shm /proc /usr');
                assert.equal(modes, seen.get(runtime) ?? modes, `${runtime} with ${umask.toString(8)}`);
                seen.set(runtime, modes);
                // One who is not root inside.
                assert.equal(await inside('setpriv --reuid 1000 --regid 1000 --clear-groups sh -c "cd /workspace/dir && cat note && ls /usr/bin >/dev/null && touch /tmp/of-agent"'), 'kept');
            }
        } finally {
            await berth.stop();
        }
    }
    t.diagnostic(JSON.stringify([...seen]));
});
