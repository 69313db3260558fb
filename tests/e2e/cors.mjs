// A page of one port asks another port of its workspace, in a real browser: what of it works with private previews, on *.localhost
// and on a domain of one's own, and what the page reads when it does not.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { browsing } from './lib/browsing.mjs';

const files = {
    'page.cjs': "require('node:http').createServer((req, res) => { res.setHeader('Content-Type', 'text/html');\n" +
        "    res.end('<!doctype html><title>Page</title><link rel=\"icon\" href=\"data:,\">'); }).listen(5173);\n",
    // It allows every origin, with credentials, and says which methods it saw.
    'api.cjs': `
const seen = [];
require('node:http').createServer((req, res) => {
    seen.push(req.method);
    let body = '';
    req.on('data', (d) => { body += d; });
    req.on('end', () => {
        res.setHeader('Access-Control-Allow-Origin', req.headers.origin ?? '*');
        res.setHeader('Access-Control-Allow-Credentials', 'true');
        res.setHeader('Access-Control-Allow-Headers', 'content-type, berth-preview-token');
        res.setHeader('Content-Type', 'application/json');
        res.end(JSON.stringify({ heard: body && JSON.parse(body), seen, cookie: req.headers.cookie ?? '' }));
    });
}).listen(8000);
`,
};
const commands = ['node page.cjs', 'node api.cjs'];
const limit = { timeout: 120_000 };

/** A JSON POST from the page: what its script can know of the answer. */
const post = (page, url, headers = {}) => page.evaluate(async ([to, more]) => {
    try {
        const answer = await fetch(to, { method: 'POST', credentials: 'include', body: '{"n":1}',
            headers: { 'Content-Type': 'application/json', Accept: 'application/json', ...more } });
        return { status: answer.status, code: answer.headers.get('Berth-Preview'), body: await answer.json() };
    } catch (error) {
        return { error: `${error}` };
    }
}, [url, headers]);

const opened = async ({ visitor, link }) => {
    const page = await visitor();
    const api = await link(8000), front = await link(5173);
    for (const made of [api, front]) assert.equal((await page.goto(made.url)).status(), 200);      // a cookie for each
    return { page, front, api: `${new URL(api.url).origin}/x`, token: api.token };
};

browsing(files, commands, (with_) => {
    test('below localhost no cookie goes from port to port: the page reads why, and what helps', limit, async () => {
        const { page, api } = await opened(with_);
        const answer = await post(page, api);
        assert.equal(answer.status, 401, JSON.stringify([answer, page.said]));
        assert.equal(answer.code, 'access_needed');
        assert.match(answer.body.message, /routes \[\{"path": "\/api", "port": 8000\}\]/);
        await page.context().close();
    });

    test('below localhost a token in a header works, and routes work without CORS', limit, async () => {
        const { page, api, token } = await opened(with_);
        const answer = await post(page, api, { 'Berth-Preview-Token': token });
        assert.equal(answer.status, 200, JSON.stringify([answer, page.said]));
        assert.deepEqual(answer.body.heard, { n: 1 });
        assert.ok(!answer.body.seen.includes('OPTIONS'), 'the browser\'s question reached the program');
        const one = await with_.link(5173, { routes: [{ path: '/api', port: 8000 }] });
        await page.goto(one.url);
        assert.deepEqual((await post(page, '/api/x')).body.heard, { n: 1 });
        await page.context().close();
    });

    test('a public port answers the question of the browser itself', limit, async () => {
        await with_.link(8000, { access: 'public' });
        const { page, api } = await opened({ ...with_, link: (port) => with_.link(port, port === 8000 ? { access: 'public' } : {}) });
        const answer = await post(page, api);
        assert.equal(answer.status, 200, JSON.stringify([answer, page.said]));
        assert.ok(answer.body.seen.includes('OPTIONS'));
        await page.context().close();
    });
}, { template: 'base' });

const probe = createServer();
await new Promise((done) => { probe.listen(0, '127.0.0.1', done); });
const { port } = probe.address();
await new Promise((done) => { probe.close(done); });

browsing(files, commands, (with_) => {
    test('on a domain of one\'s own the cookie goes along, after a preflight that the program never saw', limit, async () => {
        const { page, api } = await opened(with_);
        const answer = await post(page, api);
        assert.equal(answer.status, 200, JSON.stringify([answer, page.said]));
        assert.deepEqual(answer.body.heard, { n: 1 });
        assert.equal(answer.body.cookie, '');                             // ours stays outside
        assert.ok(!answer.body.seen.includes('OPTIONS'));
        await page.context().close();
    });

    test('and another site\'s page gets nothing by it', limit, async () => {
        const { page, api } = await opened(with_);
        await page.route('http://elsewhere.test/', (route) => route.fulfill({ contentType: 'text/html', body: '<title>Other</title>' }));
        await page.goto('http://elsewhere.test/');
        assert.match((await post(page, api)).error ?? '', /Failed to fetch/);
        await page.context().close();
    });
}, { template: 'base', config: `previews:\n    url: "http://preview.test:${port}"\n    port: ${port}\n`,
    browser: ['--host-resolver-rules=MAP *.preview.test 127.0.0.1'] });
