// A domain of one's own for previews, with TLS from certificate files that change while the server runs.
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

/** A certificate for the wildcard and nothing else, of an authority of this test's. */
function certify(name) {
    openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`,
        '-addext', 'subjectAltName=DNS:*.preview.test', '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`));
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
        for (const host of ['localhost', '127.0.0.1', 'preview.test', 'x.preview.test']) {
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
}, config);
