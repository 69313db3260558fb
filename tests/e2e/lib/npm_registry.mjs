// A package registry for npm with packages of its own, on an address of this machine that sandboxes reach through the egress proxy
// when berth.yaml says so (`network`). It counts what is asked for, and fails when told to.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

// Not 127.0.0.1, which programs in a sandbox do not reach through a proxy: it is their own.
const address = '127.0.0.2';

export class NpmRegistry {
    asked = [];             // paths, in order
    failing = 0;            // requests that are still to be broken off
    delay = 0;              // ms before each answer

    static async start() {
        const registry = new NpmRegistry();
        registry.directory = mkdtempSync(join(tmpdir(), 'berth-npm-'));
        registry.packages = new Map();
        registry.server = createServer((request, response) => registry.#answer(request, response));
        await new Promise((done) => registry.server.listen(0, address, done));
        registry.host = `${address}:${registry.server.address().port}`;
        registry.url = `http://${registry.host}/`;
        registry.network = `${address}/32`;     // for network.insecure_private_addresses
        return registry;
    }

    /** A package of `files` (text by path), with its package.json made of `manifest`. */
    publish(manifest, files) {
        const { name, version } = manifest;
        const root = join(this.directory, `${name}-${version}`.replaceAll('/', '+'));
        for (const [path, text] of Object.entries({ ...files, 'package.json': JSON.stringify(manifest) })) {
            const file = join(root, 'package', path);
            mkdirSync(dirname(file), { recursive: true });
            writeFileSync(file, text, { mode: 0o755 });
        }
        execFileSync('tar', ['-czf', `${root}.tgz`, '-C', root, 'package']);
        const bytes = readFileSync(`${root}.tgz`);
        const known = this.packages.get(name) ?? { name, 'dist-tags': {}, versions: {}, tarballs: new Map() };
        const path = `/${name}/-/${name.split('/').at(-1)}-${version}.tgz`;
        known.versions[version] = { ...manifest, dist: { tarball: `${this.url}${path.slice(1)}`,
            integrity: `sha512-${createHash('sha512').update(bytes).digest('base64')}` } };
        known['dist-tags'].latest = version;
        known.tarballs.set(path, bytes);
        this.packages.set(name, known);
    }

    #answer(request, response) {
        const path = decodeURIComponent(new URL(request.url, this.url).pathname);
        this.asked.push(path);
        if (this.failing > 0) {
            this.failing--;
            return request.socket.destroy();
        }
        const send = (status, type, body) => setTimeout(() => {
            response.writeHead(status, { 'Content-Type': type });
            response.end(body);
        }, this.delay);
        for (const { tarballs, ...packument } of this.packages.values()) {
            if (path === `/${packument.name}`) return send(200, 'application/json', JSON.stringify(packument));
            if (tarballs.has(path)) return send(200, 'application/octet-stream', tarballs.get(path));
        }
        return send(404, 'application/json', '{"error":"not found"}');
    }

    async stop() {
        this.server.closeAllConnections();
        await new Promise((done) => this.server.close(done));
        rmSync(this.directory, { recursive: true });
    }
}
