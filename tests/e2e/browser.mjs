// Previews in a real browser: Debian's Chromium over the real proxy: a private link, hot reload after an edit through a
// tool, socket.io, two browsers, an expiry and a revocation, a frame on another origin. Takes a picture for the curious.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { browsing, packages } from './lib/browsing.mjs';

const app = {
    'index.html': '<!doctype html><title>Shop</title><link rel="icon" href="data:,"><div id="root"></div><script type="module" src="/src/main.jsx"></script>',
    'src/main.jsx': "import { createRoot } from 'react-dom/client';\nimport App from './App.jsx';\nimport './style.css';\n" +
        "createRoot(document.getElementById('root')).render(<App />);\n",
    'src/App.jsx': "import { useState } from 'react';\nexport default function App() {\n    const [count, setCount] = useState(0);\n" +
        '    return <main><h1>Hello one</h1><button onClick={() => setCount(count + 1)}>count {count}</button></main>;\n}\n',
    'src/style.css': 'body { margin: 0; background: #10243e; display: grid; place-items: center; height: 100vh; }\n' +
        'main { font-family: sans-serif; padding: 2rem 3rem; background: white; border-radius: 12px; text-align: center; }\n' +
        'button { font-size: 1rem; padding: .5rem 1.5rem; border: 0; border-radius: 6px; background: #e8762d; color: white; }\n',
    'vite.config.js': "import react from '@vitejs/plugin-react';\nexport default { plugins: [react()] };\n",
    'chat.cjs': `
const http = require('node:http');
const { readFileSync } = require('node:fs');
const { Server } = require('socket.io');
const client = readFileSync(require.resolve('socket.io-client/dist/socket.io.js'));
const page = '<!doctype html><title>Chat</title><p id="said"></p><script src="/client.js"></script><script>' +
    'const socket = io(); socket.on("said", (text) => { said.textContent = text + " over " + socket.io.engine.transport.name; });' +
    'socket.on("disconnect", () => { said.textContent = "gone"; });</script>';
const server = http.createServer((req, res) => {
    if (req.url === '/client.js') return res.setHeader('Content-Type', 'text/javascript'), res.end(client);
    res.setHeader('Content-Type', 'text/html');
    res.end(page);
});
new Server(server).on('connection', (socket) => {
    socket.on('say', (text) => socket.emit('said', 'heard ' + text));
});
server.listen(3000);
`,
};

const commands = ['node node_modules/vite/bin/vite.js --port 5173 --strictPort', 'node chat.cjs'];

browsing(app, commands, (with_) => {
    const { call, edit, link, shows, visitor } = with_;
    const limit = { timeout: 200_000 };

    test('Vite and React: a private link, then a hot reload after edit_file that keeps the state', limit, async () => {
        const made = await link(5173);
        const page = await visitor();
        await page.goto(made.url);
        assert.equal(page.url(), `${new URL(made.url).origin}/`);      // no credential in the address bar
        await shows(page, 'h1', 'Hello one');
        await page.click('button');
        await shows(page, 'button', 'count 1');
        await page.evaluate(() => { window.stayed = true; });
        await edit('src/App.jsx', 'Hello one', 'Hello two');
        await shows(page, 'h1', 'Hello two');
        assert.equal(await page.evaluate(() => window.stayed), true);    // not loaded anew
        assert.equal(await page.textContent('button'), 'count 1');
        await page.reload();
        await shows(page, 'h1', 'Hello two');
        await page.screenshot({ path: join(packages, 'preview.png') });
        assert.deepEqual(page.said.filter((line) => line.startsWith('error')), []);
        await page.context().close();
    });

    test('socket.io: long polling, then a WebSocket, on the same Host', limit, async () => {
        const made = await link(3000);
        const page = await visitor();
        await page.goto(made.url);
        await page.waitForFunction(() => socket.io.engine?.transport?.name === 'websocket', undefined, { timeout: 60_000 });
        await page.evaluate(() => socket.emit('say', 'hello'));
        await shows(page, '#said', 'heard hello over websocket');
        await page.context().close();
    });

    test('a private link opens in two browsers, and a revocation ends both at once', limit, async () => {
        const made = await link(3000);
        const pages = [await visitor(), await visitor()];
        for (const page of pages) {
            await page.goto(made.url);
            await page.waitForFunction(() => socket.io.engine?.transport?.name === 'websocket', undefined, { timeout: 60_000 });
        }
        await call('preview_revoke', { workspace_id: with_.workspace_id, port: 3000 });
        for (const page of pages) {
            await shows(page, '#said', 'gone');                            // the open WebSocket
            const answer = await page.reload();
            assert.ok([401, 403].includes(answer.status()), `${answer.status()}`);
        }
        const stranger = await visitor();
        assert.ok([401, 403].includes((await stranger.goto(made.url)).status()));      // the link itself, too
        for (const page of [...pages, stranger]) await page.context().close();
    });

    test('a private link opens twice while it lasts; after its end neither the link nor what it opened does', limit, async () => {
        const made = await link(3000, { expires_s: 15 });
        const end = Date.now() + 15_000;
        const first = await visitor(), second = await visitor();
        for (const page of [first, second]) assert.equal((await page.goto(made.url)).status(), 200);
        await new Promise((done) => { setTimeout(done, end - Date.now() + 1000); });
        assert.equal((await first.reload()).status(), 401);        // the browser has forgotten the cookie by itself
        assert.equal((await second.goto(made.url)).status(), 403);
        assert.match(await second.textContent('body'), /expired/);
        const again = await link(3000);       // a new link opens it again, in the same browser
        assert.equal((await first.goto(again.url)).status(), 200);
        for (const page of [first, second]) await page.context().close();
    });

    test('a frame on a page of another origin shows the application', limit, async () => {
        const made = await link(3000);
        const outside = createServer((req, res) => {
            res.setHeader('Content-Type', 'text/html');
            res.end(`<!doctype html><title>Outside</title><iframe src="${made.url}"></iframe>`);
        });
        await new Promise((done) => { outside.listen(0, '127.0.0.1', done); });
        const page = await visitor();
        try {
            await page.goto(`http://127.0.0.1:${outside.address().port}/`);
            const frame = await (await page.waitForSelector('iframe')).contentFrame();
            await frame.waitForFunction(() => socket.io.engine?.transport?.name === 'websocket', undefined, { timeout: 60_000 })
                .catch(async (error) => { throw new Error(`the frame shows: ${await frame.content()}\n${page.said.join('\n')}\n${error.message}`); });
        } finally {
            await page.context().close();
            outside.close();
            outside.closeAllConnections();
        }
    });
});
