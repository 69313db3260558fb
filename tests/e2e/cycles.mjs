// Community servers that are started, stopped and killed again and again, with their sandboxes and with berth itself: each
// time the next call is answered, and nothing of what ended is left on the host. BERTH_CYCLES sets how often (default 20),
// SEED repeats a run.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from './lib/community.mjs';
import { randomFrom } from './lib/ledger.mjs';
import { groupParents, loops, mounts, processes, slots, unaccounted, volumes } from './lib/remains.mjs';
import { suite } from './lib/suite.mjs';
import { HttpClient } from './lib/wire.mjs';

const fixtures = join(dirname(fileURLToPath(import.meta.url)), 'fixtures');
const cycles = Number(process.env.BERTH_CYCLES ?? 20);
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
const names = ['one', 'two'];
const entry = { command: 'node', args: [join(fixtures, 'bad_server.mjs'), 'abandon'], restartDelay: 50, maxRestarts: 0,
    sandbox: { filesystem: { allowRead: [fixtures] }, memoryMb: 256 } };

/** Every file and directory below `at`, but what stands inside of volumes. */
const files = (at, from = at) => readdirSync(at, { withFileTypes: true }).flatMap((found) => {
    const path = join(at, found.name);
    const own = found.isDirectory() && !/(^|\/)volumes\/[^/]+$/.test(path) ? files(path, from) : [];
    return [relative(from, path), ...own];
});

suite((berth) => {
    test(`${cycles} ends of servers, sandboxes and berth (SEED=${seed})`, { timeout: 7_200_000 }, async (t) => {
        const random = randomFrom(seed);
        const pick = (list) => list[Math.floor(random() * list.length)];
        let client = new HttpClient(berth());
        const call = (name, args = {}) => client.call(name, args).catch((error) => ({ failed: true, text: error.message }));
        const status = (server) => berth().tool('server_status', { server });
        const answers = (server) => until(`${server} answers again`, async () => {
            const { failed, text } = await call(`${server}__echo`, { text: server });
            return !failed && text === server;
        });
        /** What the servers may hold now: a sandbox each with a tree of mounts, and their volumes. */
        const leftOver = async () => {
            const here = `${berth().data}/servers`;
            const known = readdirSync(`${here}/volumes`).filter((name) => !name.startsWith('.'));
            if (known.length > names.length) return `volumes ${known}`;
            for (const point of mounts(here)) {
                const name = point.slice(here.length + 1).split('/')[1];
                if (!known.includes(name)) return `mount ${point}`;
            }
            const trees = readdirSync(`${here}/mounts`);
            if (trees.length > names.length) return `trees ${trees}`;
            return unaccounted(berth(), new Set());
        };
        const settled = async (what) => {
            let left = 'not looked at';
            await until(`${what} leaves nothing`, async () => (left = await leftOver()) === '')
                .catch((error) => { throw new Error(`${error.message}: ${left}\n${berth().log.slice(-4000)}`); });
        };

        const ends = {
            'server killed by itself, with a child left': (server) => call(`${server}__misbehave`),
            'server stopped and started': (server) => berth().tool('server_restart', { server }),
            'server killed while it starts': async (server) => {
                const restarted = berth().tool('server_restart', { server }).catch(() => {});
                await new Promise((done) => setTimeout(done, random() * 300));
                await call(`${server}__misbehave`);
                await restarted;
            },
            'sandbox killed': async (server) => {
                const { where } = await status(server);
                const slot = where?.replace('sandbox ', '');
                for (const [pid] of slot ? processes(`${berth().data}/sandboxes/slots/${slot}`) : []) {
                    try {
                        process.kill(pid, 'SIGKILL');
                    } catch { /* it went with another one */ }
                }
            },
            'berth killed': async () => {
                const calls = names.map((server) => call(`${server}__echo`, { text: server }));
                await berth().crash();
                await Promise.all(calls);
                client.close();
                await berth().serve();
                client = new HttpClient(berth());
            },
        };
        for (const server of names) await answers(server);
        const counts = {};
        const kinds = Object.keys(ends);
        for (let cycle = 0; cycle < cycles; cycle++) {
            // Each kind in turn at first, so that a short run has all of them.
            const kind = cycle < kinds.length ? kinds[cycle] : pick(kinds), server = pick(names);
            try {
                await ends[kind](server);
                await answers(server);
                await settled(kind);
            } catch (error) {
                error.message = `cycle ${cycle}, ${kind}, ${server}, SEED=${seed}: ${error.message}`;
                throw error;
            }
            counts[kind] = (counts[kind] ?? 0) + 1;
            if (cycle % 50 === 49) console.error(`${cycle + 1} of ${cycles}: ${JSON.stringify(counts)}`);
        }
        t.diagnostic(JSON.stringify(counts));
        client.close();
    });

    test('down leaves nothing but what is kept', { timeout: 120_000 }, async (t) => {
        await berth().down();
        for (const [what, left] of Object.entries({ processes: processes(berth().directory), mounts: mounts(berth().directory),
            loops: loops(berth().directory), slots: slots(berth().data), volumes: volumes(berth().data), groups: groupParents(berth().data) })) {
            assert.deepEqual(left, [], what);
        }
        // As many whatever the number of ends: records, and the volumes of the two servers.
        const kept = files(berth().data);
        t.diagnostic(kept.join(' '));
        assert.ok(kept.length <= 30, `${kept.length} files and directories`);
    });
}, '', Object.fromEntries(names.map((name) => [name, entry])));
