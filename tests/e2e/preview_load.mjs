// Many visitors of one preview: hundreds of WebSockets and a thousand kept connections while the files change that they are
// served; a server that is killed under them; and visitors who come while the workspace sleeps.
import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { after, test } from 'node:test';
import { Sleeper, metrics, pause, until } from './lib/sleeper.mjs';
import { suite } from './lib/suite.mjs';
import { app, ask as visit, origin, token, websocket as upgrade } from './lib/visitor.mjs';

const kSockets = 200, kVisitors = 1000, kAtOnce = 100, kVersions = 20;
// One address may have a quarter of the server's connections: these come from several.
const from = (i) => `127.0.0.${2 + (i % 8)}`;

// Beside lib/visitor's program: a page that is read anew for each request, and one number that only memory keeps.
const program = `${app}
const { readFileSync } = require('node:fs');
let asked = 0;
createServer((req, res) => {
    if (req.url === '/count') return res.end(process.pid + ' ' + ++asked);
    res.end(readFileSync('page.txt'));
}).listen(3001);
`;
const page = (version) => `version ${version} `.repeat(500);

suite((berth) => {
    const limit = { timeout: 280_000 };
    const agents = [];
    after(() => { for (const agent of agents) agent.destroy(); });

    const start = async (name) => {
        const w = await Sleeper.create(berth(), { name, files: { 'app.cjs': program, 'page.txt': page(0) } });
        await w.must('run_command', { command: 'node app.cjs', background: true });
        const link = (port) => w.must('get_preview_url', { port, wait_ready_ms: 30_000 });
        return Object.assign(w, { echo: await link(3000), pages: await link(3001) });
    };
    const asleep = async (w) => {
        let last;
        await until('it hibernates', async () => {
            last = await w.call('workspace_hibernate');
            return last.structured?.state === 'hibernated';
        }).catch((error) => { throw new Error(`${error.message}: ${last.text}`); });
    };
    const socket = (made, i) => upgrade(made.url, berth().port, token(made), { localAddress: from(i) });
    const ask = (made, path, more) => visit(origin(made) + path, berth().port, { headers: token(made), ...more });

    test(`${kSockets} WebSockets and ${kVisitors} kept connections while files change; then kill -9`, limit, async () => {
        const w = await start('crowd');
        let sockets = await Promise.all(Array.from({ length: kSockets }, (_, i) => socket(w.echo, i)));
        for (let i = 0; i < kVisitors; i++) agents.push(new Agent({ keepAlive: true, maxSockets: 1, localAddress: from(i) }));
        let written = 0;
        const everyone = async (least) => {
            let next = 0;
            const seen = new Set();
            await Promise.all(Array.from({ length: kAtOnce }, async () => {
                while (next < kVisitors) {
                    const { status, text, socket: used } = await ask(w.pages, '/', { agent: agents[next++] });
                    const version = Number(/^version (\d+) /.exec(text)?.[1]);
                    assert.equal(status, 200, text);
                    assert.equal(text, page(version));           // one version, whole
                    assert.ok(version >= least && version <= written + 1, `${version}`);
                    seen.add(used);
                }
            }));
            return seen;
        };
        const first = await everyone(0);
        assert.equal(first.size, kVisitors);
        const write = (async () => {
            for (let version = 1; version <= kVersions; version++) {
                await w.must('write_file', { path: 'page.txt', content: page(version) });
                written = version;
                await pause(50);
            }
        })();
        const talk = Promise.all(sockets.map(async (s, i) => {
            for (let n = 0; n < 5; n++) assert.equal(await s.say(`${i} ${n}`), `echo ${i} ${n} at ${new URL(w.echo.url).host}`);
        }));
        const second = await everyone(0);
        assert.deepEqual([...second].filter((s) => !first.has(s)).length, 0);      // nobody was hung up on meanwhile
        await Promise.all([write, talk]);
        await everyone(kVersions);

        const [pid] = (await ask(w.pages, '/count')).text.split(' ');
        const busy = ask(w.echo, '/big?mib=4000').catch(() => 'cut');
        await pause(100);
        await berth().crash();
        await Promise.all(sockets.map((s) => s.ended));
        assert.equal(await busy, 'cut');
        // What pages do: they try again until the server is back.
        const again = sockets.map(async (_, i) => {
            for (;;) {
                const s = await socket(w.echo, i).catch(() => undefined);
                if (s?.status === 101) return s;
                await pause(200);
            }
        });
        await berth().serve();
        sockets = await Promise.all(again);
        assert.deepEqual(new Set(await Promise.all(sockets.map((s) => s.say('back')))), new Set([`echo back at ${new URL(w.echo.url).host}`]));
        assert.equal((await ask(w.pages, '/count')).text, `${pid} 2`);       // the same program, which never ended
        sockets.forEach((s) => s.socket.destroy());
        w.reconnect(berth());
        await w.must('workspace_delete');
        w.close();
    });

    test('whoever comes while a workspace hibernates waits for it: requests and WebSockets, one wake', limit, async () => {
        const w = await start('sleeper');
        const [pid] = (await ask(w.pages, '/count')).text.split(' ');
        const open = await socket(w.echo, 0);
        assert.match(await open.say('before'), /^echo before/);
        open.socket.destroy();
        await asleep(w);
        const before = (await metrics(berth()))('berth_wakes_total');
        const refused = await visit(origin(w.pages), berth().port);
        assert.equal(refused.status, 401);
        assert.equal(await w.state(), 'hibernated');           // a stranger wakes nobody
        const [held, upgraded, ...more] = await Promise.all([
            ask(w.pages, '/count'), socket(w.echo, 1), ...Array.from({ length: 10 }, () => ask(w.pages, '/'))]);
        assert.equal(held.text, `${pid} 2`);                   // as it was
        assert.match(await upgraded.say('after'), /^echo after/);
        for (const answer of more) assert.equal(answer.text, page(0));
        upgraded.socket.destroy();
        assert.ok((await metrics(berth()))('berth_wakes_total') <= before + 1);

        await asleep(w);
        await w.must('workspace_delete');
        const [gone, socketGone] = await Promise.all([ask(w.pages, '/count'), socket(w.echo, 2)]);
        assert.deepEqual([gone.status, socketGone.status], [404, 404]);
        const listed = await w.client.call('workspace_list', {});
        assert.ok(!listed.structured.workspaces.some((one) => one.workspace_id === w.id && one.state !== 'deleting'));
        w.close();
    });
}, 'toolsets: [core, files, lifecycle]\npreviews:\n    max_requests: 2000\n');
