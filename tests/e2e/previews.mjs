// Previews through the real program: a browser's requests, WebSockets, streams, links and their end; requests that two
// readers would read differently, in front of Node's, Python's and Go's servers; a server that is killed under traffic.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { v2 } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';
import { app, ask as visit, frame, origin, token, websocket as upgrade } from './lib/visitor.mjs';

// scripts/setup-suites builds it from fixtures/backend.go, static: workspaces have no Go.
const goBackend = join(dirname(process.env.BERTH_NODE_TOOLS ?? 'build/node'), 'go', 'backend');
const go = existsSync(goBackend);
const ports = go ? [3000, 8000, 9000] : [3000, 8000];

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

const python = `
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        print('served', self.command, self.path, flush=True)
        out = json.dumps({'method': self.command, 'url': self.path, 'body': body.decode('latin1')}).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(out)))
        self.end_headers()
        self.wfile.write(out)
    do_POST = do_PUT = do_GET
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('0.0.0.0', 8000), Handler).serve_forever()
`;

suite((berth) => {
    const limit = { timeout: 280_000 };
    let shared;

    // One workspace with both programs for all tests that leave it as it is.
    const work = async () => {
        if (shared) return shared;
        const files = Object.create(berth(), { url: { value: `${berth().url}?toolsets=core,files` } });
        const client = await v2(files, 'http', { pin: '2026-07-28' });
        const call = async (name, args) => {
            const answer = await client.call(name, args);
            assert.ok(!answer.failed, `${name}: ${answer.text}`);
            return answer.structured;
        };
        const { workspace_id } = await call('workspace_create', { files: { 'app.cjs': app, 'app.py': python } });
        const start = (command) => call('run_command', { workspace_id, command, background: true });
        const node = await start('node app.cjs');
        const py = await start('python3 app.py');
        const link = (port, more = {}) => call('get_preview_url', { workspace_id, port, ...more });
        await link(3000, { wait_ready_ms: 30_000 });
        await link(8000, { wait_ready_ms: 30_000 });
        const served = { 3000: node, 8000: py };
        if (go) {
            const { url } = await call('get_transfer_url', { workspace_id, path: 'backend', direction: 'upload' });
            assert.ok((await fetch(url, { method: 'PUT', body: readFileSync(goBackend) })).ok);
            served[9000] = await start('chmod +x backend && ./backend');
            await link(9000, { wait_ready_ms: 30_000 });
        }
        shared = { client, call, workspace_id, start, link, served };
        return shared;
    };
    const resident = () =>
        Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${berth().process.pid}/status`, 'utf8'))[1]) / 1024;

    const ask = (url, options) => visit(url, berth().port, options);
    const websocket = (made, headers = token(made)) => upgrade(made.url, berth().port, headers);

    /** Bytes to the server, and everything until it closes or is silent for a while. */
    const raw = (bytes, silence = 1500) => new Promise((done) => {
        let all = '';
        let timer;
        const socket = connect(berth().port, '127.0.0.1', () => socket.write(bytes));
        const end = () => { clearTimeout(timer); socket.destroy(); done(all); };
        const wait = () => { clearTimeout(timer); timer = setTimeout(end, silence); };
        socket.on('data', (d) => { all += d.toString('latin1'); wait(); });
        socket.on('close', end);
        socket.on('error', end);
        wait();
    });

    test('a link opens in a browser, twice, and leaves the address bar; a program sends its token', limit, async () => {
        const { link } = await work();
        const made = await link(3000, { path: '/page?x=1' });
        assert.equal(made.ready, true);
        assert.match(made.url, new RegExp(`^http://3000-ws-[a-z2-7]{26}\\.localhost:${berth().port}/page\\?x=1&berth_preview=bp1\\.`));
        for (let visitor = 0; visitor < 2; visitor++) {
            const first = await ask(made.url, { headers: { Accept: 'text/html' } });
            assert.equal(first.status, 303);
            assert.equal(first.headers.location, `${origin(made)}/page?x=1`);
            assert.match(first.headers['set-cookie'][0], /^berth_preview=.*; HttpOnly; .*SameSite=Lax$/);
            const cookie = first.headers['set-cookie'][0].split(';')[0];
            const page = await ask(first.headers.location, { headers: { Accept: 'text/html', Cookie: `mine=1; ${cookie}` } });
            assert.equal(page.status, 200);
            const seen = JSON.parse(page.text);
            assert.equal(seen.url, '/page?x=1');
            assert.equal(seen.headers.cookie, 'mine=1');
            assert.equal(seen.headers.host, new URL(made.url).host);
            assert.equal(seen.headers['x-forwarded-proto'], 'http');
            assert.deepEqual(page.headers['set-cookie'], ['a=1; Path=/']);
            assert.equal(page.headers['alt-svc'], undefined);
        }
        const framed = await ask(made.url, { headers: { Accept: 'text/html', 'Sec-Fetch-Dest': 'iframe' } });
        assert.match(framed.headers['set-cookie'][0], /SameSite=None; Secure; Partitioned$/);
        const bearer = await ask(`${origin(made)}/b`, { headers: { Authorization: `Bearer ${made.token}` } });
        assert.equal(JSON.parse(bearer.text).headers.authorization, undefined);
        const own = await ask(`${origin(made)}/b`, { headers: { ...token(made), Authorization: 'Bearer theirs',
            'X-Forwarded-For': '6.6.6.6', Forwarded: 'for=6.6.6.6' } });
        const seen = JSON.parse(own.text).headers;
        assert.equal(seen.authorization, 'Bearer theirs');
        assert.equal(seen['berth-preview-token'], undefined);
        assert.equal(seen['x-forwarded-for'], '127.0.0.1');
        assert.match(seen.forwarded, /^for=127\.0\.0\.1;/);
    });

    test('nobody else gets in, and the answer suits who asks', limit, async () => {
        const { link, workspace_id } = await work();
        const made = await link(3000), other = await link(8000);
        const page = await ask(origin(made), { headers: { Accept: 'text/html' } });
        assert.equal(page.status, 401);
        assert.match(page.text, /This preview is private/);
        assert.equal(page.headers['content-security-policy'], "default-src 'none'; style-src 'unsafe-inline'");
        const json = await ask(origin(made), { headers: { Accept: 'application/json' } });
        assert.equal(JSON.parse(json.text).error, 'access_needed');
        assert.equal((await websocket(made, {})).status, 401);
        assert.equal((await ask(origin(made), { headers: token(other) })).status, 403);      // another port's
        assert.equal((await websocket(made, token(other))).status, 403);
        assert.equal((await ask(`http://3000-ws-${'a'.repeat(26)}.localhost/`, { headers: token(made) })).status, 404);
        assert.equal((await ask(`http://3001-${workspace_id}.localhost/`, { headers: token(made) })).status, 404);
        const short = await link(3000, { expires_s: 1 });
        assert.equal((await ask(origin(made), { headers: token(short) })).status, 200);
        const stream = ask(`${origin(made)}/events`, { headers: token(short) }).catch(() => 'cut');
        await pause(1200);
        assert.equal((await ask(origin(made), { headers: token(short) })).status, 403);
        assert.equal(await stream, 'cut');       // what was open ends with its credential
    });

    test('control plane and previews never answer for each other', limit, async () => {
        const { link, workspace_id } = await work();
        await link(3000, { access: 'public' });
        for (const path of ['/mcp', '/healthz', '/metrics', '/shutdown', '/transfer/x']) {
            const host = `3000-${workspace_id}.localhost:${berth().port}`;
            const answer = await ask(`http://${host}${path}`, { method: path === '/shutdown' ? 'POST' : 'GET',
                headers: { Authorization: `Bearer ${berth().token}` } });
            assert.equal(JSON.parse(answer.text).url, path);         // the program inside
        }
        for (const host of [`3000-${workspace_id}.LOCALHOST`, `03000-${workspace_id}.localhost`, 'x.localhost',
            `a.3000-${workspace_id}.localhost`, `3000-${workspace_id}x.localhost`]) {
            const all = await raw(`GET /healthz HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
            assert.match(all, /^HTTP\/1\.1 404 /, host);
        }
        const dot = await raw(`GET /healthz HTTP/1.1\r\nHost: 3000-${workspace_id}.localhost.\r\nConnection: close\r\n\r\n`);
        assert.match(dot, /^HTTP\/1\.1 403 /);
        const same = await link(3000);               // says nothing about access, and changes nothing
        assert.deepEqual([same.access, same.token], ['public', undefined]);
        assert.equal((await ask(origin(same))).status, 200);
        const private_ = await link(3000, { access: 'private' });
        assert.equal((await ask(origin(private_))).status, 401);
    });

    test('WebSockets, events and ranges', limit, async () => {
        const { link } = await work();
        const made = await link(3000);
        const sockets = await Promise.all(Array.from({ length: 20 }, () => websocket(made)));
        const answers = await Promise.all(sockets.map((s, i) => s.say(`hello ${i}`)));
        answers.forEach((text, i) => assert.equal(text, `echo hello ${i} at ${new URL(made.url).host}`));
        sockets[0].socket.write(frame('', 8));
        await sockets[0].ended;
        sockets.forEach((s) => s.socket.destroy());
        const part = await ask(`${origin(made)}/range`, { headers: { ...token(made), Range: 'bytes=2-4' } });
        assert.deepEqual([part.status, part.text, part.headers['content-range']], [206, '234', 'bytes 2-4/10']);
        await new Promise((done, fail) => {
            const out = request({ host: '127.0.0.1', port: berth().port, path: '/events', agent: false,
                headers: { Host: new URL(made.url).host, ...token(made) } }, (res) => {
                let text = '';
                res.on('data', (d) => {
                    text += d;
                    if (text.includes('data: 3\n\n')) { out.destroy(); done(); }
                });
                res.on('error', () => {});
            });
            out.on('error', fail);
            out.end();
        });
    });

    // BERTH_TRANSFER_MIB=5120 is the same with 5 GiB each way, for a run by hand.
    const mib = Number(process.env.BERTH_TRANSFER_MIB ?? 200);
    test(`${mib} MiB go up and down, and the server does not hold them`, { timeout: 3_600_000 }, async () => {
        const { link } = await work();
        const made = await link(3000);
        const piece = randomBytes(1 << 20);
        const hash = createHash('sha256');
        let most = 0;
        const before = resident();
        const answer = await new Promise((done, fail) => {
            const out = request({ host: '127.0.0.1', port: berth().port, path: '/hash', method: 'POST', agent: false,
                headers: { Host: new URL(made.url).host, ...token(made) } }, (res) => {
                let text = '';
                res.on('data', (d) => { text += d; });
                res.on('end', () => done(JSON.parse(text)));
            });
            out.on('error', fail);
            let left = mib;
            const more = () => {
                while (left-- > 0) {
                    hash.update(piece);
                    most = Math.max(most, resident());
                    if (!out.write(piece)) return out.once('drain', more);
                }
                out.end();
            };
            more();
        });
        assert.deepEqual(answer, { bytes: mib * 2 ** 20, sha256: hash.digest('hex') });
        const down = await new Promise((done, fail) => {
            request({ host: '127.0.0.1', port: berth().port, path: `/big?mib=${mib}`, agent: false,
                headers: { Host: new URL(made.url).host, ...token(made) } }, (res) => {
                let bytes = 0;
                res.on('data', (d) => { bytes += d.length; most = Math.max(most, resident()); });
                res.on('end', () => done(bytes));
                res.on('error', fail);
            }).on('error', fail).end();
        });
        assert.equal(down, mib * 2 ** 20);
        assert.ok(most - before < 48, `the server grew by ${most - before} MiB`);
    });

    // Each head is open to two readings. Behind it stands a request for /smuggled, which no program may ever serve.
    for (const [name, port] of [['Node', 3000], ['Python', 8000], ['Go', 9000]]) {
        const without = ports.includes(port) ? false : 'no Go backend (scripts/setup-suites)';
        test(`one request in, one out, or refused: before ${name}`, { ...limit, skip: without }, async () => {
            const { link, call, served } = await work();
            const made = await link(port);
            const host = new URL(made.url).host;
            const head = (line, more) => `${line} HTTP/1.1\r\nHost: ${host}\r\nBerth-Preview-Token: ${made.token}\r\n${more}`;
            const rider = head('GET /smuggled', '\r\n');
            const post = (more) => head('POST /first', more) + rider;
            const refused = [
                post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
                post('Content-Length: 0\r\nContent-Length: 44\r\n\r\n'),
                post('Content-Length: 0, 44\r\n\r\n'),
                post('Content-Length: +0\r\n\r\n'),
                post('Content-Length : 0\r\n\r\n'),
                post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n'),
                post('Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'),
                post('Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'),
                post('Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n'),
                post('Transfer-Encoding:\u000bchunked\r\n\r\n0\r\n\r\n'),
                post('X: y\n\r\n'),
                post('X: y\r\n folded\r\n\r\n'),
                post('X: y\rZ: w\r\n\r\n'),
                post('X\u0000: y\r\n\r\n'),
                head('GET http://localhost/healthz', '\r\n'),
                head('GET /a b', '\r\n'),
                head('GET //a\t', '\r\n'),
                head('CONNECT 127.0.0.1:22', '\r\n'),
                head('OPTIONS *', '\r\n'),
                `GET / HTTP/1.1\r\nHost: ${host}\r\nHost: localhost\r\n\r\n`,
                'GET / HTTP/1.1\r\n\r\n',
                head('GET /ws', 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n'),
                head('GET /ws', 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 3\r\n' +
                    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nabc'),
            ];
            for (const bytes of refused) {
                const all = await raw(Buffer.from(bytes, 'latin1'), 400);
                assert.match(all, /^HTTP\/1\.1 4\d\d /, JSON.stringify(bytes));
            }
            for (const chunks of ['5\nhello\n0\n\n', 'zz\r\n\r\n', '5\r\nhelloX\r\n0\r\n\r\n', '-1\r\n\r\n', '1 \r\na\r\n0\r\n\r\n',
                '0x1\r\na\r\n0\r\n\r\n', 'fffffffffffffffff\r\na\r\n0\r\n\r\n']) {
                // The head is good, so a program may see it; the body never ends, and nothing comes behind it.
                await raw(head('POST /chunks', `Transfer-Encoding: chunked\r\n\r\n${chunks}`) + rider, 300);
            }
            const long = await raw(head('GET /', `X: ${'x'.repeat(70_000)}\r\n\r\n`), 400);
            assert.match(long, /^HTTP\/1\.1 431 /);
            const { output } = await call('read_process_output', { process_id: served[port].process_id, cursor: 0, wait_ms: 0 });
            assert.doesNotMatch(output, /smuggled/);
            assert.doesNotMatch(output, /POST \/first/);
            // The same rider as a body is a body.
            const good = await raw(head('POST /whole', `Content-Length: ${rider.length}\r\nConnection: close\r\n\r\n`) + rider, 5000);
            assert.match(good, /^HTTP\/1\.1 200 /);
            assert.equal(JSON.parse(good.slice(good.indexOf('{'), good.lastIndexOf('}') + 1)).body, rider);     // chunked or not
            assert.equal((await ask(origin(made), { headers: token(made) })).status, 200);
        });
    }

    test('nothing reaches the host, the proxy or another workspace', limit, async () => {
        const { link, client, workspace_id, call } = await work();
        let hits = 0;
        const host = createServer((req, res) => { hits++; res.end('host'); });
        await new Promise((done) => host.listen(0, '127.0.0.1', done));
        const port = host.address().port;
        const made = await link(port);
        assert.equal(made.ready, false);
        const answer = await ask(origin(made), { headers: { ...token(made), Accept: 'application/json' } });
        assert.equal(answer.status, 502);
        assert.deepEqual(JSON.parse(answer.text).listening_ports, ports);
        assert.equal(hits, 0);
        host.close();
        assert.ok((await client.call('get_preview_url', { workspace_id, port: 3128 })).failed);
        const { workspace_id: other } = await call('workspace_create', {});
        const elsewhere = await call('get_preview_url', { workspace_id: other, port: 3000 });
        assert.equal(elsewhere.ready, false);
        assert.equal((await ask(origin(elsewhere), { headers: token(elsewhere) })).status, 502);
        await call('workspace_delete', { workspace_id: other });
        assert.equal((await ask(origin(elsewhere), { headers: token(elsewhere) })).status, 404);
    });

    test('what is missing is said: the ports that listen, a crash with its last words, an address nobody reaches', limit, async () => {
        const { link, client, workspace_id, call, start } = await work();
        const found = await call('get_preview_url', { workspace_id });
        assert.equal(found.port, 3000);
        const silent = await link(4000);
        assert.deepEqual(silent.listening_ports.map((p) => p.port), ports);
        assert.match(silent.hint, /Nothing listens on port 4000/);
        const failed = await start('echo cannot find module left-pad >&2; exit 3');
        while ((await call('read_process_output', { process_id: failed.process_id, wait_ms: 5_000 })).state === 'running') await pause(20);
        await call('run_command', { workspace_id, command: 'grep nothing app.py' });      // somebody waited for that: no crash
        const crashed = await ask(origin(silent), { headers: { ...token(silent), Accept: 'text/html' } });
        assert.equal(crashed.status, 502);
        assert.match(crashed.text, /exit code 3/);
        assert.match(crashed.text, /cannot find module left-pad/);
        const open = await link(4000, { access: 'public' });
        assert.doesNotMatch((await ask(origin(open))).text, /left-pad/);
        const odd = await start('python3 -m http.server 4001 --bind 127.0.0.2');
        for (let tries = 0; ; tries++) {
            const { hint } = await link(4001);
            if (/only on 127\.0\.0\.2/.test(hint)) break;
            assert.ok(tries < 200, hint);
            await pause(100);
        }
        await call('stop_process', { process_id: odd.process_id });
        const late = call('get_preview_url', { workspace_id, port: 4002, wait_ready_ms: 45_000 });
        const server = await start('sleep 1; node app.cjs 4002');
        assert.equal((await late).status_code, 200);
        await call('stop_process', { process_id: server.process_id });
        assert.ok((await client.call('get_preview_url', { workspace_id, port: 70_000 })).failed);
    });

    test('several programs under one URL; the tools of the toolset preview', limit, async () => {
        const { workspace_id, link } = await work();
        const made = await link(3000, { routes: [{ path: '/api', port: 8000 }] });
        const served = async (path) => JSON.parse((await ask(origin(made) + path, { headers: token(made) })).text);
        assert.ok((await served('/x')).pid);
        assert.equal((await served('/api/y')).pid, undefined);
        const all = await v2(Object.create(berth(), { url: { value: `${berth().url}?toolsets=core,preview` } }), 'http',
            { pin: '2026-07-28' });
        const list = (await all.call('preview_list', { workspace_id, port: 3000, log: 50 })).structured.previews;
        assert.equal(list.length, 1);
        assert.deepEqual(list[0].routes, [{ path: '/api', port: 8000 }]);
        assert.ok(list[0].log.some((e) => e.path === '/api/y' && e.status === 200 && e.by === 'token'));
        assert.ok(list[0].log.some((e) => e.status === 401 && e.by === 'refused: no credential'));
        const checked = (await all.call('preview_check', { workspace_id, port: 3000, path: '/seen' })).structured;
        assert.equal(checked.status_code, 200);
        assert.match(checked.text, /"url":"\/seen"/);
        assert.match(checked.browser, /^(chromium$|none: )/);
        const socket = await websocket(made);
        assert.match(await socket.say('before'), /^echo before/);
        const revoked = await all.call('preview_revoke', { workspace_id, port: 3000 });
        assert.deepEqual(revoked.structured, { revoked: 1 });
        await socket.ended;
        assert.equal((await ask(origin(made), { headers: token(made) })).status, 403);
        assert.equal((await ask(made.url, { headers: { Accept: 'text/html' } })).status, 403);
        assert.ok((await all.call('preview_revoke', { workspace_id, port: 9 })).failed);
        const metrics = await fetch(`http://127.0.0.1:${berth().port}/metrics`, { headers: { Authorization: `Bearer ${berth().token}` } });
        assert.match(await metrics.text(), /berth_preview_requests_total\{answer="2xx"\} [1-9]/);
        await all.close();
    });

    test('a server that is killed under traffic: visitors come back to the same program', limit, async () => {
        const { link } = await work();
        const made = await link(3000);
        const pid = JSON.parse((await ask(origin(made), { headers: token(made) })).text).pid;
        const sockets = await Promise.all([1, 2, 3].map(() => websocket(made)));
        const busy = ask(`${origin(made)}/big?mib=2000`, { headers: token(made) }).catch(() => 'cut');
        await pause(100);
        await berth().crash();
        await Promise.all(sockets.map((s) => s.ended));
        assert.equal(await busy, 'cut');
        await berth().serve();
        const again = await ask(origin(made), { headers: token(made) });
        assert.equal(again.status, 200);
        assert.equal(JSON.parse(again.text).pid, pid);
        const socket = await websocket(made);
        assert.match(await socket.say('back'), /^echo back/);
        socket.socket.destroy();
        shared = undefined;      // its MCP client was of the server that died
    });
});
