// preview_check with Debian's Chromium in its jail: what a model is told and shown of a page, what a hostile page cannot reach, and that
// no browser stays behind. scripts/setup-suites brings Chromium.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { v2 } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';
import { ask } from './lib/visitor.mjs';

const chromium = existsSync('/usr/lib/chromium/chromium');
const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

const app = `
const http = require('node:http');
const page = (body, title = 'A page') => '<!doctype html><title>' + title + '</title><link rel="icon" href="data:,">' + body;
const pages = {
    '/': page('<style>body { margin: 0; background: #10243e; color: white } #box { position: absolute; left: 100px; top: 100px; width: 50px; ' +
        'height: 50px; background: #ff8800 }</style><h1></h1><div id="box"></div><img src="/missing.png"><script>' +
        'document.querySelector("h1").textContent = "made by " + "a script"; console.log("nothing of interest");' +
        'console.error("cannot load %s: %d tries", "the cart", 3); console.warn("old browser");' +
        'setTimeout(() => { null.price }, 10);</script>', 'Shop'),
    '/fine': page('<h1>Fine</h1>', 'Fine'),
    '/alerts': page('<h1>Alerts</h1><script>for (;;) alert("buy");</script>'),
    '/busy': page('<h1>Busy</h1><script>setTimeout(() => { for (;;); }, 0);</script>'),
    '/memory': page('<h1>Memory</h1><script>const all = []; while (all.length < 64) all.push(new Uint8Array(64 << 20).fill(1));</script>'),
    '/flood': page('<h1>Flood</h1><script>setInterval(() => { for (let i = 0; i < 1000; i++) console.error("x".repeat(10000)); }, 0);</script>'),
    '/popups': page('<h1>Popups</h1><script>for (let i = 0; i < 50; i++) open("/fine?" + i); setInterval(() => open("/fine"), 5);</script>'),
    '/huge': page('<h1>Huge</h1>' + '<p>a paragraph of a very long page</p>'.repeat(200000)),
    '/routes': page('<h1></h1><script>document.querySelector("h1").textContent = "at " + location.hash;</script>', 'Routes'),
    '/secret': page('<h1>Secret</h1>'),
};
http.createServer((req, res) => {
    const path = req.url.split('?')[0];
    const of = new URL(req.url, 'http://x').searchParams;
    if (path === '/endless') {
        res.setHeader('Content-Type', 'text/html');
        res.write(page('<h1>Half</h1>'.repeat(200)));
        return;
    }
    if (path === '/elsewhere') return res.writeHead(302, { Location: 'http://elsewhere.example/' }).end();
    if (path === '/leave') return res.setHeader('Content-Type', 'text/html'), res.end(page('<script>location = "http://elsewhere.example/there"</script>'));
    if (path === '/data') return res.setHeader('Content-Type', 'application/json'), res.end('{"a": 1}');
    if (path === '/probe') {
        res.setHeader('Content-Type', 'text/html');
        return res.end(page('<pre></pre><script>(async () => { const out = []; for (const url of ' + of.get('urls') + ') {' +
            'let said; try { const r = await fetch(url, { mode: "no-cors" }); said = r.type + " " + r.status + " " + (await r.text()).slice(0, 50); }' +
            'catch (error) { said = "nothing"; } out.push(said); } document.querySelector("pre").textContent = JSON.stringify(out); })();</script>'));
    }
    if (pages[path]) return res.setHeader('Content-Type', 'text/html'), res.end(pages[path]);
    res.writeHead(404).end('no such page');
}).listen(+process.argv[2] || 3000);
`;

/** A PNG of 8 bits a channel, decoded: { width, height, at(x, y), colours }. */
function decode(png) {
    assert.equal(png.subarray(0, 8).toString('latin1'), '\x89PNG\r\n\x1a\n');
    let header;
    const data = [];
    for (let at = 8; at < png.length;) {
        const length = png.readUInt32BE(at), type = png.toString('latin1', at + 4, at + 8), body = png.subarray(at + 8, at + 8 + length);
        if (type === 'IHDR') header = { width: body.readUInt32BE(0), height: body.readUInt32BE(4), depth: body[8], colour: body[9] };
        if (type === 'IDAT') data.push(body);
        at += 12 + length;
    }
    const { width, height, depth, colour } = header;
    assert.equal(depth, 8);
    const channels = { 2: 3, 6: 4 }[colour];
    assert.ok(channels, `colour type ${colour}`);
    const raw = inflateSync(Buffer.concat(data)), row = width * channels, pixels = Buffer.alloc(row * height);
    const paeth = (a, b, c) => {
        const p = a + b - c, pa = Math.abs(p - a), pb = Math.abs(p - b), pc = Math.abs(p - c);
        return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
    };
    for (let y = 0; y < height; y++) {
        const filter = raw[y * (row + 1)];
        for (let x = 0; x < row; x++) {
            const left = x >= channels ? pixels[y * row + x - channels] : 0, up = y ? pixels[(y - 1) * row + x] : 0;
            const corner = y && x >= channels ? pixels[(y - 1) * row + x - channels] : 0;
            const add = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
            pixels[y * row + x] = raw[y * (row + 1) + 1 + x] + add;
        }
    }
    const at = (x, y) => pixels.subarray(y * row + x * channels, y * row + x * channels + 3).toString('hex');
    const colours = new Set();
    for (let y = 0; y < height; y += 4) for (let x = 0; x < width; x += 4) colours.add(at(x, y));
    return { width, height, at, colours };
}

/** Every process below this one. */
function descendants(of) {
    const parents = new Map();
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        try {
            parents.set(Number(pid), Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]));
        } catch { /* it has gone meanwhile */ }
    }
    const out = new Set([of]);
    for (let size = 0; size !== out.size;) {
        size = out.size;
        for (const [pid, parent] of parents) if (out.has(parent)) out.add(pid);
    }
    out.delete(of);
    return [...out];
}
const command = (pid) => { try { return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '); } catch { return ''; } };
const browsers = (of) => descendants(of).filter((pid) => /berth-jail|chromium/.test(command(pid)));

suite((berth) => {
    if (!chromium) {
        test('the whole file', { skip: 'Chromium is missing (scripts/setup-suites)' }, () => {});
        return;
    }
    const limit = { timeout: 120_000 };
    let shared;
    const work = async () => {
        if (shared) return shared;
        const all = Object.create(berth(), { url: { value: `${berth().url}?toolsets=core,preview` } });
        const client = await v2(all, 'http', { pin: '2026-07-28' });
        const call = async (name, args) => {
            const answer = await client.call(name, args);
            assert.ok(!answer.failed, `${name}: ${answer.text}`);
            return answer;
        };
        const start = async (more = {}) => {
            const { workspace_id } = (await call('workspace_create', { files: { 'app.cjs': app } })).structured;
            await call('run_command', { workspace_id, command: 'node app.cjs', background: true });
            const link = (await call('get_preview_url', { workspace_id, port: 3000, wait_ready_ms: 30_000, ...more })).structured;
            assert.ok(link.ready, link.hint);
            return { workspace_id, link };
        };
        const { workspace_id } = await start();
        const check = async (path, more = {}) => {
            const answer = await call('preview_check', { workspace_id, port: 3000, path, ...more });
            assert.equal(answer.structured.browser, 'chromium', answer.text);
            return answer;
        };
        shared = { client, call, workspace_id, start, check };
        return shared;
    };
    const picture = (answer) => answer.content.find((block) => block.type === 'image');

    test('a page: what its console says, what it throws, what it asks for in vain, and how it looks', limit, async () => {
        const { check } = await work();
        const answer = await check('/');
        const { structured, text } = answer;
        assert.equal(structured.status_code, 200);
        assert.equal(structured.title, 'Shop');
        assert.match(structured.text, /made by a script/);
        assert.equal(structured.loaded, true);
        assert.deepEqual(structured.console.map(({ level, text: said }) => `${level}: ${said}`),
            ['error: cannot load the cart: 3 tries', 'warning: old browser']);
        assert.match(structured.console[0].where, /^\/:\d+$/);
        assert.equal(structured.exceptions.length, 1);
        assert.match(structured.exceptions[0].text, /^TypeError: .*price/);
        assert.deepEqual(structured.failed_requests, [{ method: 'GET', url: '/missing.png', reason: '404' }]);
        assert.match(text, /cannot load the cart[\s\S]*missing\.png: 404/);
        assert.doesNotMatch(JSON.stringify(structured) + text, /berth_preview/);
        assert.equal(structured.screenshot.width, 1024);
        const { mimeType, data } = picture(answer);
        assert.equal(mimeType, 'image/png');
        const bytes = Buffer.from(data, 'base64');
        assert.ok(bytes.length <= 300 * 1024);
        const image = decode(bytes);
        assert.deepEqual([image.width, image.height], [1024, 640]);
        assert.equal(image.at(5, 600), '10243e');
        assert.equal(image.at(125, 125), 'ff8800');
        assert.ok(image.colours.size > 2);
        const small = await check('/fine', { screenshot: false });
        assert.equal(picture(small), undefined);
        assert.equal(small.structured.screenshot, undefined);
        assert.match(small.text, /No console errors, exceptions or failed requests/);
    });

    test('what is no page takes no browser; one that is not there is shown as it is', limit, async () => {
        const { call, workspace_id } = await work();
        const { structured } = await call('preview_check', { workspace_id, port: 3000, path: '/data' });
        assert.equal(structured.status_code, 200);
        assert.match(structured.browser, /^none: not needed/);
        const silent = await call('preview_check', { workspace_id, port: 4000, screenshot: false });
        assert.equal(silent.structured.status_code, 502);
    });

    test('a page reaches its own preview and nothing else: not the host, the control plane, another workspace, a network, a file', limit, async () => {
        const { check, start } = await work();
        let hits = 0;
        const outside = createServer((req, res) => { hits++; res.end('outside'); });
        await new Promise((done) => { outside.listen(0, '127.0.0.1', done); });
        const other = await start({ access: 'public' });
        assert.equal((await ask(other.link.url, berth().port)).status, 200);      // anybody may, from elsewhere
        const { port } = berth();
        const urls = ['/fine', `http://127.0.0.1:${port}/mcp`, `http://127.0.0.1:${port}/healthz`, `http://localhost:${port}/healthz`,
            `http://127.0.0.1:${outside.address().port}/`, `http://localhost:${outside.address().port}/`, `http://[::1]:${port}/healthz`,
            `${new URL(other.link.url).origin}/secret`, 'http://169.254.169.254/latest/meta-data/', 'http://10.0.0.1/', 'http://deb.debian.org/',
            'file:///etc/passwd'];
        const { structured } = await check(`/probe?urls=${encodeURIComponent(JSON.stringify(urls))}`, { screenshot: false });
        const said = JSON.parse(structured.text);
        assert.match(said[0], /^basic 200 /);
        // What reaches the jail's own listener with another name is told that there is nothing: opaque to the page.
        for (const [i, one] of said.slice(1).entries()) assert.match(one, /^(nothing|opaque 0 )$/, `${urls[i + 1]}: ${one}`);
        assert.equal(hits, 0);
        outside.close();
        const list = (await (await work()).call('preview_list', { workspace_id: other.workspace_id, log: 50 })).structured.previews;
        assert.ok(!list.some((p) => (p.log ?? []).some((e) => e.path === '/secret')), JSON.stringify(list));
        await (await work()).call('workspace_delete', { workspace_id: other.workspace_id });
    });

    test('a redirect elsewhere is named, not followed', limit, async () => {
        const { call, workspace_id, check } = await work();
        const { structured } = await call('preview_check', { workspace_id, port: 3000, path: '/elsewhere' });
        assert.equal(structured.status_code, 302);
        const left = await check('/leave', { screenshot: false });
        assert.match(JSON.stringify(left.structured), /elsewhere\.example/);
    });

    for (const [path, tells] of [['/endless', /still loading/], ['/alerts', /dialogs without end/], ['/busy', /ran without end|no picture/],
        ['/memory', /too much memory|more memory than a check has/], ['/flood', /left out|listens to/], ['/popups', null], ['/huge', null]]) {
        test(`a hostile page ends in bounds: ${path}`, limit, async () => {
            const { call, workspace_id, check } = await work();
            const answer = await call('preview_check', { workspace_id, port: 3000, path });
            assert.equal(answer.structured.status_code, 200);
            if (tells) assert.match(answer.text, tells);
            assert.ok(answer.text.length < 40_000, `${answer.text.length} characters`);
            const image = picture(answer);
            if (image) assert.ok(image.data.length < 420 * 1024);
            const next = await check('/fine');         // and the next one works
            assert.equal(next.structured.title, 'Fine');
            assert.equal(next.structured.loaded, true);
        });
    }

    test('a path with a fragment: the program is asked without it, the page has it', limit, async () => {
        const { check } = await work();
        const { structured } = await check('/routes#/settings', { screenshot: false });
        assert.equal(structured.status_code, 200);
        assert.match(structured.text, /at #\/settings/);
    });

    test('checks that nobody waits for any more leave their places to others', limit, async () => {
        const { client, workspace_id, check } = await work();
        for (let round = 0; round < 3; round++) {
            const away = new AbortController();
            const gone = Array.from({ length: 4 }, () => client.call('preview_check', { workspace_id, port: 3000, path: '/fine' }, { signal: away.signal })
                .catch(() => 'gone'));
            await pause(300);
            away.abort();
            await Promise.all(gone);
        }
        const look = () => client.call('preview_check', { workspace_id, port: 3000, path: '/fine', screenshot: false });
        while ((await look()).structured.browser !== 'chromium') await pause(100);      // the server hears of the last ones a little later
        const titles = await Promise.all([1, 2, 3].map(async () => (await check('/fine', { screenshot: false })).structured.title));
        assert.deepEqual(titles, ['Fine', 'Fine', 'Fine']);
    });

    test('several at once wait for each other; no browser stays behind', limit, async () => {
        const { check } = await work();
        const titles = await Promise.all([1, 2, 3].map(async () => (await check('/fine', { screenshot: false })).structured.title));
        assert.deepEqual(titles, ['Fine', 'Fine', 'Fine']);
        assert.deepEqual(browsers(berth().process.pid), []);
    });

    test('a server that is killed leaves no browser, and the next one looks again', limit, async () => {
        const { client, workspace_id } = await work();
        client.call('preview_check', { workspace_id, port: 3000, path: '/busy' }).catch(() => 'cut');      // this client may wait long for a dead server
        let running = [];
        while (running.length < 3) {
            await pause(20);
            running = browsers(berth().process.pid);
        }
        await berth().crash();
        while (running.some((pid) => /berth-jail|chromium/.test(command(pid)))) await pause(20);
        await berth().serve();
        shared = undefined;
        const { check } = await work();
        assert.equal((await check('/fine')).structured.title, 'Fine');
    });
});
