// A domain of one's own for previews, with TLS from certificate files that change while the server runs, a name of its own for
// one preview, and a reverse proxy in front.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Sleeper, until } from './lib/sleeper.mjs';
import { suite } from './lib/suite.mjs';
import { app, ask as visit, origin, token, websocket as upgrade } from './lib/visitor.mjs';

const directory = mkdtempSync(join(tmpdir(), 'berth-e2e-tls-'));
after(() => { rmSync(directory, { recursive: true, force: true }); });
const at = (name) => join(directory, name);
const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });

/** A certificate for the wildcard, the other names and nothing else, of an authority of this test's. */
function certify(name) {
    openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`,
        '-addext', 'subjectAltName=DNS:*.preview.test,DNS:shop.test,DNS:*.apps.test', '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`));
    openssl('x509', '-req', '-in', at(`${name}.csr`), '-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2',
        '-copy_extensions', 'copy', '-out', at(`${name}.pem`));
}
openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=test authority',
    '-keyout', at('ca.key'), '-out', at('ca.pem'));
for (const name of ['first', 'second']) certify(name);
/** Puts one half of a pair where the server reads it, in one step as certbot and others do. */
const install = (name, half) => {
    execFileSync('cp', [at(`${name}.${half}`), at(`next.${half}`)]);
    renameSync(at(`next.${half}`), at(`live.${half}`));
};
for (const half of ['pem', 'key']) install('first', half);

const probe = createServer();
await new Promise((done) => { probe.listen(0, '127.0.0.1', done); });
const port = probe.address().port;
await new Promise((done) => { probe.close(done); });
const config = `previews:
    url: "https://preview.test:${port}"
    port: ${port}
    tls_certificate: ${at('live.pem')}
    tls_key: ${at('live.key')}
    domains: [shop.test, "*.apps.test"]
    trusted_proxies: [127.0.0.9/32]
`;

suite((berth) => {
    const limit = { timeout: 120_000 };
    const ca = readFileSync(at('ca.pem'));
    const ask = (url, { headers = {}, ...more } = {}) => visit(url, port, { ca, headers, ...more });
    const socket = (made) => upgrade(made.url, port, token(made), { ca });
    const name = (answer) => answer.certificate.subject.CN;
    let w;
    const work = async () => {
        if (w) return w;
        w = await Sleeper.create(berth(), { files: { 'app.cjs': app } });
        await w.must('run_command', { command: 'node app.cjs', background: true });
        w.link = (more = {}) => w.must('get_preview_url', { port: 3000, wait_ready_ms: 30_000, ...more });
        await w.link();
        return w;
    };
    after(() => { w?.close(); });

    test('previews below the domain, over TLS, and no control plane there', limit, async () => {
        const { link } = await work();
        const made = await link();
        assert.match(made.url, new RegExp(`^https://3000-${w.id}\\.preview\\.test:${port}/\\?berth_preview=`));
        const first = await ask(made.url, { headers: { Accept: 'text/html' } });
        assert.equal(first.status, 303);
        assert.match(first.headers['set-cookie'][0], /^__Host-berth_preview=.*; SameSite=Lax; Secure$/);
        const page = await ask(first.headers.location, { headers: { Cookie: first.headers['set-cookie'][0].split(';')[0] } });
        const seen = JSON.parse(page.text);
        assert.equal(seen.headers['x-forwarded-proto'], 'https');
        assert.equal(seen.headers['x-forwarded-port'], `${port}`);
        const open = await socket(made);
        assert.match(await open.say('hello'), /^echo hello/);
        open.socket.destroy();
        for (const host of ['localhost', '127.0.0.1', 'preview.test', 'x.preview.test', 'other.apps.test']) {
            const answer = await ask(`https://any.preview.test:${port}/healthz`, { headers: { Host: host, Authorization: `Bearer ${berth().token}` } });
            assert.equal(answer.status, 404, host);
        }
        const plain = await visit(`http://3000-${w.id}.localhost/`, berth().port, { headers: token(made) });
        assert.notEqual(plain.status, 200);                      // one domain at a time
    });

    test('certificate files that change while sockets are open', limit, async () => {
        const { link } = await work();
        const made = await link();
        const open = await socket(made);
        const shown = async () => name(await ask(`${origin(made)}/`, { headers: token(made) }));
        assert.equal(await shown(), 'first');
        install('second', 'pem');                                // half of a pair: the old one goes on
        await new Promise((done) => { setTimeout(done, 1500); });
        assert.equal(await shown(), 'first');
        install('second', 'key');
        await until('new visitors see the new certificate', async () => await shown() === 'second');
        assert.match(await open.say('still here'), /^echo still here/);
        open.socket.destroy();
    });

    test('a name of its own for one preview', limit, async () => {
        const { link } = await work();
        const made = await link({ domain: 'shop.test' });
        assert.ok(made.url.startsWith(`https://shop.test:${port}/?berth_preview=`), made.url);
        const seen = JSON.parse((await ask(`${origin(made)}/x`, { headers: token(made) })).text);
        assert.equal(seen.headers.host, `shop.test:${port}`);
        assert.equal((await ask(`${origin(made)}/x`)).status, 401);
        assert.match(await (await socket(made)).say('hi'), /^echo hi at shop\.test/);
        for (const domain of ['localhost', 'preview.test', 'evil.shop.test', '127.0.0.1']) {
            const refused = await w.call('get_preview_url', { port: 3000, domain });
            assert.ok(refused.failed, domain);
            assert.match(refused.text, /previews\.domains/);
        }
        const taken = await w.call('get_preview_url', { port: 3001, domain: 'shop.test' });
        assert.match(taken.text, /another preview has the name/);
        await berth().tool('preview_revoke', { workspace_id: w.id, port: 3000 });
        assert.equal((await ask(`${origin(made)}/x`, { headers: token(made) })).status, 404);
        const next = await link();
        assert.match(next.url, /\.preview\.test/);
    });

    test('a reverse proxy that is trusted names the visitor, and nobody else does', limit, async () => {
        const { link } = await work();
        const made = await link();
        const seen = async (localAddress) => JSON.parse((await ask(`${origin(made)}/`, { localAddress,
            headers: { ...token(made), 'X-Forwarded-For': '6.6.6.6, 192.0.2.7' } })).text).headers['x-forwarded-for'];
        assert.equal(await seen('127.0.0.9'), '192.0.2.7');
        assert.equal(await seen('127.0.0.8'), '127.0.0.8');
        const { previews } = await berth().tool('preview_list', { workspace_id: w.id, log: 5 });
        assert.ok(previews[0].log.some((entry) => entry.visitor === '192.0.2.7'));
    });
}, config);
