// Servers that hibernate: what they keep in memory is there again with the next call, however many come at once, and for
// the server nothing has happened. What cannot be saved is not lost by trying.
import assert from 'node:assert/strict';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { v2 } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';

const fixture = resolve(import.meta.dirname, 'fixtures/counter_server.mjs');
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const counter = (era, more = {}) => ({
    command: 'node', args: [fixture, era], idle: 'hibernate', idleTimeoutMs: 1500, ...more,
    sandbox: { filesystem: { allowRead: [fixture] } },
});

suite((berth) => {
    const status = (name) => berth().tool('server_status', { server: name });
    const call = async (name, tool) => Number.parseInt(await berth().tool('call_tool', { tool: `${name}__${tool}`, arguments: {} }), 10);
    const until = async (what, check) => {
        for (let tries = 0; tries < 600; tries++) {
            const found = await check();
            if (found) return found;
            await pause(100);
        }
        assert.fail(`${what}\n${berth().log}`);
    };
    // What it offers is counted as it says so, and can be called once it has been compared with what was pinned.
    const known = (name) => until(`${name} is known`, async () => (await status(name)).offers?.tools === 3 &&
        JSON.stringify(await berth().tool('search_tools', { query: `${name} who` })).includes(`${name}__who`));
    const asleep = (name) => until(`${name} sleeps`, async () => {
        const now = await status(name);
        return now.memory === 'on disk' && now;
    });
    const files = (directory) => {
        try {
            return readdirSync(directory, { recursive: true }).map((name) => join(directory, name)).filter((path) => statSync(path).isFile());
        } catch {
            return [];
        }
    };
    const images = () => files(join(berth().data, 'servers/images')).filter((path) => /srv-/.test(path));

    for (const era of ['legacy', 'modern']) {
        test(`a ${era} server goes on where it was, woken once by many`, async () => {
            await known(era);
            const pid = await call(era, 'who');
            for (let n = 1; n <= 3; n++) assert.equal(await call(era, 'add'), n);
            const slept = await asleep(era);
            assert.equal(slept.state, 'asleep');
            const client = await v2(berth(), 'http', { pin: '2026-07-28' });     // all at once, and not a process each
            const counted = await Promise.all(Array.from({ length: 10 }, () => client.call(`${era}__add`, {})));
            await client.close();
            assert.deepEqual(counted.map((one) => Number(one.text)).sort((a, b) => a - b), [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
            assert.equal((await status(era)).wakes, slept.wakes + 1);
            assert.equal(await call(era, 'who'), pid);
            assert.equal((await status(era)).starts, 1);
            await asleep(era);
            assert.equal(await call(era, 'add'), 14);
            const { lines } = await berth().tool('server_logs', { server: era });
            assert.ok(lines.some((line) => line.includes('counted 3')) && lines.some((line) => line.includes('counted 14')), lines.join('\n'));
        });
    }

    test('one that cannot be saved goes on, and keeps what it knows', async () => {
        await known('holding');
        assert.equal(await call('holding', 'add'), 1);
        await call('holding', 'hold');
        await until('it says why', async () => (await berth().tool('server_logs', { server: 'holding' })).lines
            .some((line) => /does not hibernate.*\/workspace\/gone/.test(line)));
        assert.equal(await call('holding', 'add'), 2);
        assert.equal((await status('holding')).starts, 1);
    });

    test('memory that was damaged is not woken: the server starts anew and says so', async () => {
        await call('legacy', 'add');
        await asleep('legacy');
        // The other server's too: which is whose does not show, and it may sleep as well.
        const memory = images().filter((path) => statSync(path).size > 1 << 20);
        assert.ok(memory.length > 0);
        for (const path of memory) writeFileSync(path, 'nonsense', { flag: 'r+' });
        assert.equal(await call('legacy', 'add'), 1);
        assert.ok((await berth().tool('server_logs', { server: 'legacy' })).lines.some((line) => /its memory is lost/.test(line)));
    });

    test('nothing is kept of a server that is taken away, or by a berth that dies', async () => {
        await call('modern', 'add');
        await asleep('modern');
        assert.ok(images().length > 0);
        berth().configure({});
        await until('images go', () => images().length === 0);
        berth().configure({ legacy: counter('legacy') });
        await until('it is back', () => status('legacy').catch(() => false));
        assert.equal(await call('legacy', 'add'), 1);
        await asleep('legacy');
        await berth().crash();
        assert.ok(images().length > 0);
        await berth().serve();
        assert.deepEqual(images(), []);
        assert.equal(await call('legacy', 'add'), 1);
    });
}, '', { legacy: counter('legacy'), modern: counter('modern'), holding: counter('legacy') });
