// kill -9 of the server at random moments of a mixed load (files, commands, sleep, snapshots, forks, transfers), and of its own start: what was acknowledged is there after the
// next start, what was deleted is not, and nothing on the host belongs to nobody. KILLS sets how often (200 for the long run), SEED
// repeats a run.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ledger, randomFrom } from './lib/ledger.mjs';
import { groupParents, loops, mounts, processes, ranges, slots, unaccounted, volumes } from './lib/remains.mjs';
import { suite } from './lib/suite.mjs';

const kills = Number(process.env.KILLS ?? 60);
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

suite((berth) => {
    test(`nothing acknowledged is lost over ${kills} kills (SEED=${seed})`, { timeout: 1_200_000 }, async (t) => {
        const random = randomFrom(seed);
        const clients = [0, 1, 2, 3].map((n) =>
            new Ledger(`c${n}`, randomFrom(Math.floor(random() * 2 ** 32)), { legacy: n === 3 }));
        const eachClient = (work) => Promise.all(clients.map(work));

        // Boots and stocking go on meanwhile, so that a moment of peace is waited for.
        const settled = async () => {
            const workspaces = new Set((await clients[0].list()).map((w) => w.workspace_id));
            const end = Date.now() + 60_000;
            let found;
            const snapshots = clients.reduce((sum, client) => sum + client.snapshots, 0);
            while ((found = await unaccounted(berth(), workspaces, snapshots)) !== '') {
                assert.ok(Date.now() < end, `left over: ${found}\n${berth().log}`);
                await pause(10);
            }
        };

        for (let kill = 0; kill < kills; kill++) {
            try {
                await eachClient((client) => client.connect(berth()));
                // So many calls into the load, and somewhere within the next one.
                let calls = Math.floor(random() * 50);
                let reached;
                const moment = new Promise((done) => { reached = done; });
                const load = eachClient((client) => client.work(() => { if (calls-- === 0) reached(); }));
                load.catch(() => {});
                await Promise.race([load, moment]);     // a wrong answer ends it early
                await pause(random() * 20);
                await berth().crash();
                await load;
                // Some of the starts are not lived through either.
                while (random() < 0.15) {
                    await berth().launch();
                    await pause(random() * 300);
                    await berth().crash();
                }
                await berth().serve();
                await eachClient((client) => client.connect(berth()));
                const mine = (await eachClient((client) => client.check())).flat();
                const all = (await clients[0].list()).map((w) => w.workspace_id);
                assert.deepEqual(all.sort(), mine.sort(), 'a workspace belongs to nobody');
                await settled();
            } catch (error) {
                error.message = `kill ${kill}, SEED=${seed}: ${error.message}`;
                throw error;
            }
        }

        const names = (await eachClient((client) => client.names())).flat();
        assert.deepEqual(names.filter((name) => name.startsWith('.berth')), [], 'half-written files are left');
        const counts = {};
        for (const client of clients) {
            for (const [kind, count] of Object.entries(client.counts)) counts[kind] = (counts[kind] ?? 0) + count;
        }
        t.diagnostic(`acknowledged: ${JSON.stringify(counts)}`);
        await eachClient((client) => client.deleteAll());
        await settled();
        clients.forEach((client) => client.close());
    });

    test('down leaves nothing', { timeout: 120_000 }, async () => {
        await berth().down();
        assert.deepEqual(processes(berth().directory), []);
        assert.deepEqual(mounts(berth().directory), []);
        assert.deepEqual(loops(berth().directory), []);
        assert.deepEqual(slots(berth().data), []);
        assert.deepEqual(volumes(berth().data), []);
        assert.deepEqual(groupParents(berth().data), []);
        assert.deepEqual(ranges(berth().data), []);
    });
}, 'toolsets: [core, files, lifecycle]\n');
