// Code that takes all it can get, in one workspace, while its neighbour is at work. After each attack
// the attacked workspace answers again or says why it had to be started anew, and goes like any other.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { use } from './lib/remains.mjs';
import { suite } from './lib/suite.mjs';
import { HttpClient } from './lib/wire.mjs';

const MiB = 1 << 20;
const python = (...lines) => `exec python3 -u -c '${['import os, sys, time, threading', ...lines].join('\n')}'`;

/**
 * What is run, and what must be true of it. Either the attack `ends` the sandbox, for a reason that is told; or it is
 * contained inside: its output comes to what `heard` says, and then `check` looks around. What goes on is stopped.
 */
const attacks = [
    {
        title: 'a fork bomb meets EAGAIN',
        limits: { memory: '1GiB', pids: 128 },
        command: 'bomb() { bomb | bomb & }; bomb; sleep 600',
        heard: /fork: .*Resource temporarily unavailable/,
    },
    {
        title: 'a thread storm meets EAGAIN',
        limits: { memory: '1GiB', pids: 128 },
        command: python('made = 0', 'try:', '    while True:',
            '        threading.Thread(target=time.sleep, args=(600,), daemon=True).start(); made += 1',
            'except RuntimeError as error:', '    print("made", made, error)', '    time.sleep(600)'),
        heard: /made \d+ can.t start new thread/,
    },
    {
        title: 'a zombie storm meets EAGAIN',
        limits: { memory: '1GiB', pids: 128 },
        command: python('made = 0', 'try:', '    while True:', '        if os.fork() == 0: os._exit(0)', '        made += 1',
            'except BlockingIOError as error:', '    print("made", made, error)', '    time.sleep(600)'),
        heard: /made \d+ .*Resource temporarily unavailable/,
    },
    {
        title: 'orphans that leave their session are reaped',
        limits: { memory: '512MiB', pids: 128 },
        command: 'for i in $(seq 150); do (setsid -f true); done; ' +
            'while grep -qs "^State:.*Z" /proc/[0-9]*/status; do sleep 0.2; done; echo all are gone; sleep 600',
        heard: /all are gone/,
    },
    {
        title: 'a memory bomb ends its sandbox, and says so',
        limits: { memory: '256MiB' },
        command: python('hoard = []', 'while True: hoard.append(b"x" * (1 << 24))'),
        ends: /out of memory/,
    },
    {
        title: 'filling /tmp, which is memory, ends its sandbox, and says so',
        limits: { memory: '256MiB' },
        command: 'dd if=/dev/zero of=/tmp/fill bs=1M; sleep 600',
        ends: /out of memory/,
    },
    {
        title: 'memory that many processes share out ends their sandbox, and says so',
        limits: { memory: '256MiB', pids: 256 },
        command: python('for i in range(40):', '    if os.fork() == 0:', '        hoard = b"x" * (1 << 24); time.sleep(600)',
            'time.sleep(600)'),
        ends: /out of memory/,
    },
    {
        title: 'a volume filled with bytes gives ENOSPC',
        limits: { disk: '48MiB' },
        command: 'dd if=/dev/zero of=fill bs=1M; echo "status $?"',
        heard: /No space left on device[\s\S]*status 1/,
        check: async (answer, here) => {
            const refused = await here('write_file', { path: 'more.bin', content: 'x'.repeat(4 * MiB) });
            assert.ok(refused.failed);
            assert.match(refused.text, /[Nn]o space left/);
            const gone = await here('delete_file', { path: 'fill' });
            assert.ok(!gone.failed, gone.text);
            const written = await here('write_file', { path: 'more.bin', content: 'x'.repeat(4 * MiB) });
            assert.ok(!written.failed, written.text);
        },
    },
    {
        title: 'a volume filled with inodes gives ENOSPC',
        limits: { disk: '48MiB' },
        command: python('os.mkdir("many"); made = 0', 'try:', '    while True:', '        open(f"many/{made}", "w").close(); made += 1',
            'except OSError as error:', '    print("made", made, error)'),
        heard: /made \d+ .*No space left on device/,
        check: async (answer, here) => {
            const refused = await here('write_file', { path: 'one-more', content: '' });
            assert.ok(refused.failed);
            assert.match(refused.text, /[Nn]o space left/);
            const gone = await here('delete_file', { path: 'many', recursive: true });
            assert.ok(!gone.failed, gone.text);
            const written = await here('write_file', { path: 'one-more', content: '' });
            assert.ok(!written.failed, written.text);
        },
    },
    {
        title: 'a flood of lines is cut, counted and kept within the disk limit',
        limits: { disk: '48MiB' },
        command: 'yes flood',
        check: async (answer, here, client) => {
            assert.equal(answer.structured.truncated, true);
            assert.ok(answer.text.length < 64 * 1024, `${answer.text.length} characters`);
            const { process_id } = answer.structured;
            while ((await client.call('read_process_output', { process_id })).structured.total_bytes < 64 * MiB);
            const { metrics } = (await here('workspace_get', { include: ['metrics'] })).structured;
            assert.ok(metrics.disk_bytes <= metrics.disk_limit_bytes);
        },
    },
    {
        title: 'a flood of zero bytes is cut and counted',
        limits: { disk: '48MiB' },
        command: 'cat /dev/zero',
        check: (answer) => {
            assert.equal(answer.structured.truncated, true);
            assert.ok(answer.text.length < 64 * 1024, `${answer.text.length} characters`);
        },
    },
    {
        title: 'a line of a gibibyte is cut, and every read of it is bounded',
        limits: { disk: '48MiB' },
        command: `head -c 1G /dev/zero | tr '\\0' x`,
        check: async (answer, here, client) => {
            assert.ok(answer.text.length < 64 * 1024, `${answer.text.length} characters`);
            const { process_id } = answer.structured;
            for (const more of [{}, { cursor: 1000 }, { tail_lines: 5 }, { grep: 'x' }, { cursor: 1e15 }]) {
                const part = await client.call('read_process_output', { process_id, ...more });
                assert.ok(!part.failed, part.text);
                assert.ok(part.text.length < 512 * 1024, `${part.text.length} characters for ${JSON.stringify(more)}`);
            }
        },
    },
    {
        title: 'open files run out for each process',
        limits: { memory: '1GiB', disk: '512MiB', pids: 128 },
        command: python('os.mkdir("open")', 'for child in range(6):', '    if os.fork() == 0:', '        held = []', '        try:',
            '            while True: held.append(open(f"open/{child}-{len(held)}", "w"))',
            '        except OSError as error:', '            sys.stderr.write(f"{len(held)} {error}\\n")', '        time.sleep(600)',
            'time.sleep(600)'),
        heard: /Too many open files/,
    },
    {
        title: 'input that nobody reads is refused once a mebibyte waits',
        limits: {},
        command: 'sleep 600',
        check: async (answer, here, client) => {
            const { process_id } = (await here('run_command', { command: 'sleep 600', background: true })).structured;
            const input = 'x'.repeat(512 * 1024);
            let refused;
            for (let sent = 0; sent < 8 && !refused; sent++) {
                const typed = await client.call('send_process_input', { process_id, input, wait_ms: 0 });
                if (typed.failed) refused = typed.text;
            }
            assert.ok(refused, 'four mebibytes were taken');
        },
    },
];

suite((berth) => {
    let client, neighbour, before, notes = 0;

    /** Runs the attack while a client works in the neighbour, three rounds at least. */
    const besideNeighbour = async (attack) => {
        let over = false;
        const beside = new HttpClient(berth());
        const path = `note-${++notes}.txt`;
        const work = (async () => {
            for (let round = 0; !over || round < 3; round++) {
                const args = (more) => ({ workspace_id: neighbour, ...more });
                const content = `round ${round}\n`;
                const wrote = await beside.call('write_file', args({ path, content }));
                assert.ok(!wrote.failed, wrote.text);
                const ran = await beside.call('run_command', args({ command: `cat ${path}; echo ran >> ${path}` }));
                assert.equal(ran.structured?.output, content, ran.text);
                const read = await beside.call('read_file', args({ path }));
                assert.match(read.text, new RegExp(`round ${round}\\b[\\s\\S]*ran`));
            }
        })();
        work.catch(() => {});       // looked at when the attack is over
        try {
            await attack();
        } finally {
            over = true;
            await work.finally(() => beside.close());
        }
    };

    test('there is a neighbour', async () => {
        client = new HttpClient(berth());
        const made = await client.call('workspace_create', {});
        assert.ok(!made.failed, made.text);
        neighbour = made.structured.workspace_id;
        before = use(berth().process.pid);
    });

    for (const { title, limits, command, ends, heard, check } of attacks) {
        test(title, { timeout: 180_000 }, async () => {
            const made = await client.call('workspace_create', { limits, files: { 'kept.txt': 'kept' } });
            assert.ok(!made.failed, made.text);
            const { workspace_id } = made.structured;
            const here = (name, args) => client.call(name, { workspace_id, ...args });
            await besideNeighbour(async () => {
                const answer = await here('run_command', { command, timeout_ms: 1_000 });
                if (ends) {
                    // The command itself may be told as running still, or as ended; the sandbox's end is told by a later call.
                    let told = answer.text;
                    for (let looks = 0; looks < 600 && !ends.test(told); looks++) {
                        const { structured, text } = await here('workspace_get', {});
                        told = structured?.last_error ?? text;
                        await new Promise((done) => setTimeout(done, 100));
                    }
                    assert.match(told, ends);
                } else {
                    assert.ok(!answer.failed, answer.text);
                    const { process_id } = answer.structured;
                    let { output } = answer.structured;
                    for (let looks = 0; heard && !heard.test(output) && looks < 300; looks++) {
                        ({ output } = (await client.call('read_process_output', { process_id })).structured);
                        await new Promise((done) => setTimeout(done, 200));
                    }
                    if (heard) assert.match(output, heard);
                    await check?.(answer, here, client);
                    const stopped = await client.call('stop_process', { process_id, signal: 'KILL', grace_ms: 0 });
                    assert.ok(!stopped.failed, stopped.text);
                }

                // At most the call that meets the dying sandbox fails; the next one starts it again from its files.
                let again = await here('run_command', { command: 'cat kept.txt' });
                if (again.failed && ends) {
                    assert.match(again.text, ends);
                    again = await here('run_command', { command: 'cat kept.txt' });
                }
                assert.equal(again.structured?.output, 'kept', again.text);
            });
            const deleted = await here('workspace_delete', {});
            assert.ok(!deleted.failed, deleted.text);
            assert.ok((await here('workspace_get', {})).failed);
        });
    }

    test('the server itself has not grown', () => {
        const after = use(berth().process.pid);
        assert.ok(after.peak < before.memory + 128 * MiB, `${before.memory} bytes before, at most ${after.peak}`);
        assert.ok(after.descriptors < before.descriptors + 32, `${before.descriptors} before, ${after.descriptors} after`);
        client.close();
    });
});
