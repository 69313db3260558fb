// Files past the model: signed links in and out of a workspace.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { v2 } from './lib/clients.mjs';
import { suite } from './lib/suite.mjs';

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

suite((berth) => {
    const limit = { timeout: 200_000 };
    const work = async (options = {}) => {
        const client = await v2(berth(), 'http', { pin: '2026-07-28' });
        const { structured: { workspace_id } } = await client.call('workspace_create', options);
        const call = async (name, args) => {
            const answer = await client.call(name, { workspace_id, ...args });
            assert.ok(!answer.failed, answer.text);
            return answer.structured;
        };
        const link = async (direction, path, more = {}) => (await call('get_transfer_url', { path, direction, ...more })).url;
        const run = async (command) => (await call('run_command', { command })).output;
        return { client, workspace_id, call, link, run };
    };
    const put = (url, body) => fetch(url, { method: 'PUT', body, duplex: 'half' });
    const resident = () =>
        Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${berth().process.pid}/status`, 'utf8'))[1]) / 1024;

    test('200 MiB go in and out, and the server does not hold them', limit, async () => {
        const { link, run } = await work();
        const piece = randomBytes(1 << 20);
        const hash = createHash('sha256');
        let most = 0;
        const before = resident();
        const body = new ReadableStream({
            pull(controller) {
                this.sent = (this.sent ?? 0) + 1;
                most = Math.max(most, resident());
                if (this.sent > 200) return controller.close();
                hash.update(piece);
                controller.enqueue(piece);
            },
        });
        const up = await put(await link('upload', 'data/big.bin'), body);
        assert.equal(up.status, 201, await up.clone().text());
        assert.deepEqual(await up.json(), { path: 'data/big.bin', bytes: 200 << 20 });
        const expected = hash.digest('hex');
        assert.equal((await run('sha256sum data/big.bin')).split(' ')[0], expected);
        const down = await fetch(await link('download', 'data/big.bin'));
        assert.equal(down.headers.get('content-length'), String(200 << 20));
        const back = createHash('sha256');
        for await (const bytes of down.body) back.update(bytes), most = Math.max(most, resident());
        assert.equal(back.digest('hex'), expected);
        assert.ok(most - before < 64, `the server grew by ${most - before} MiB`);
    });

    test('a part of a file, and what may stand in its headers', limit, async () => {
        const { call, link } = await work();
        await call('write_file', { path: 'page "x".html', content: '<script>0123456789</script>' });
        const url = await link('download', 'page "x".html');
        const part = await fetch(url, { headers: { Range: 'bytes=8-11' } });
        assert.equal(part.status, 206);
        assert.equal(part.headers.get('content-range'), 'bytes 8-11/27');
        assert.equal(await part.text(), '0123');
        assert.equal((await fetch(url, { headers: { Range: 'bytes=99-' } })).status, 416);
        const head = await fetch(url, { method: 'HEAD' });
        assert.equal(head.headers.get('content-length'), '27');
        // A page from a sandbox never runs as one of this server's.
        assert.equal(head.headers.get('content-type'), 'application/octet-stream');
        assert.equal(head.headers.get('x-content-type-options'), 'nosniff');
        assert.equal(head.headers.get('content-disposition'), 'attachment; filename="page _x_.html"');
    });

    test('the command that comes with a link works as it is', limit, async () => {
        const { call, run } = await work();
        const file = join(berth().directory, 'local');
        writeFileSync(file, 'from outside');
        const words = (curl) => [...curl.replace('FILE', file).matchAll(/'([^']*)'|(\S+)/g)].map((m) => m[1] ?? m[2]);
        const [, ...up] = words((await call('get_transfer_url', { path: 'in', direction: 'upload' })).curl);
        execFileSync('curl', ['--noproxy', '*', '-s', ...up]);
        assert.equal(await run('cat in && echo more >> in'), 'from outside');
        const [, ...down] = words((await call('get_transfer_url', { path: 'in', direction: 'download' })).curl);
        execFileSync('curl', ['--noproxy', '*', '-s', ...down]);
        assert.equal(readFileSync(file, 'utf8'), 'from outsidemore\n');
    });

    test('a link is good for one file, one direction, one owner and its time', limit, async () => {
        const { call, link, client, workspace_id } = await work();
        await call('write_file', { path: 'a', content: 'A' });
        const url = await link('download', 'a');
        assert.equal((await put(url, 'x')).status, 403);
        assert.equal((await fetch(await link('upload', 'a'))).status, 403);
        const short = await link('download', 'a', { expires_s: 1 });
        assert.equal((await fetch(short)).status, 200);
        await pause(1100);
        assert.equal((await fetch(short)).status, 403);
        const [payload, tag] = url.slice(url.lastIndexOf('/') + 1).split('.');
        const forge = (change) => {
            const fields = JSON.parse(Buffer.from(payload, 'base64url'));
            change(fields);
            return Buffer.from(JSON.stringify(fields)).toString('base64url');
        };
        const base = url.slice(0, url.lastIndexOf('/') + 1);
        for (const token of [`${forge((f) => { f.p = 'b'; })}.${tag}`, `${forge((f) => { f.e += 1; })}.${tag}`,
            payload, `${payload}.`, `${payload}.${tag}x`, `.${tag}`, 'x'.repeat(10_000)]) {
            assert.equal((await fetch(base + token)).status, 403, token.slice(0, 80));
        }
        await client.call('workspace_delete', { workspace_id });
        assert.equal((await fetch(url)).status, 404);
    });

    test('paths that lead out are refused when the link is used, too', limit, async () => {
        const { call, link, run, client, workspace_id } = await work();
        for (const path of ['../../etc/passwd', '/etc/passwd']) {
            const answer = await client.call('get_transfer_url', { workspace_id, path, direction: 'upload' });
            assert.ok(answer.failed, path);
        }
        await call('write_file', { path: 'dir/file', content: 'mine' });
        const [up, down] = [await link('upload', 'dir/file'), await link('download', 'dir/file')];
        await run('rm -r dir; ln -s /etc dir; ln -s /etc/passwd passwd; mkfifo pipe');
        assert.equal((await put(up, 'x')).status, 403);
        assert.equal((await fetch(down)).status, 403);
        assert.equal(await run('rm dir; mkdir -p dir/file && echo made'), 'made\n');
        assert.equal((await fetch(down)).status, 400);
        assert.equal((await put(up, 'x')).status, 400);
    });

    test('an upload that is cut off, or finds no room, leaves the file as it was', limit, async () => {
        const { call, link, run } = await work({ limits: { disk: '64MiB' } });
        await call('write_file', { path: 'kept', content: 'before' });
        const url = new URL(await link('upload', 'kept'));
        await new Promise((done) => {
            const out = request({ host: url.hostname, port: url.port, path: url.pathname, method: 'PUT',
                headers: { 'Content-Length': 1_000_000 } });
            out.on('error', done);
            out.write(Buffer.alloc(500_000), () => out.destroy(new Error('gone')));
        });
        const full = await put(String(url), Buffer.alloc(100 << 20)).catch((error) => error);
        if (full.status) assert.equal(full.status, 507);
        assert.equal(await run('cat kept'), 'before');
        for (let tries = 0; ; tries++) {
            const used = Number((await run('df --output=used -BM /workspace | tail -n 1')).replace('M', ''));
            if (used < 40) break;
            assert.ok(tries < 100, `${used} MiB are still in use`);
            await pause(100);
        }
        assert.equal(await run('ls -A'), 'kept\n');
    });
});
