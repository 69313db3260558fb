// A place where packages and repositories come from, as the internet has them: git's smart HTTP, a simple index for pip, a registry
// for npm, and a page for curl, over HTTP and over HTTPS with a certificate of its own authority. It listens on loopback; who
// is to reach it by name gets `hosts` for a hosts file.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecure } from 'node:https';
import { join } from 'node:path';

const names = ['packages.test', 'elsewhere.test'];

const wheel = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as z:
    z.writestr("greeting.py", "text = 'from the index'\\n")
    info = "greeting-1.0.dist-info/"
    z.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n")
    z.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    z.writestr(info + "RECORD", "greeting.py,,\\n" + info + "METADATA,,\\n" + info + "WHEEL,,\\n" + info + "RECORD,,\\n")
`;

/** Runs git's own server program for one request. */
function gitOver(directory, request, response) {
    const url = new URL(request.url, 'http://git');
    const cgi = spawn('git', ['http-backend'], { env: {
        PATH: process.env.PATH, GIT_PROJECT_ROOT: directory, GIT_HTTP_EXPORT_ALL: '1', PATH_INFO: url.pathname,
        QUERY_STRING: url.search.slice(1), REQUEST_METHOD: request.method, CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '', GIT_PROTOCOL: request.headers['git-protocol'] ?? '',
    }, stdio: ['pipe', 'pipe', 'ignore'] });
    request.pipe(cgi.stdin);
    cgi.stdin.on('error', () => {});
    const parts = [];
    cgi.stdout.on('data', (part) => parts.push(part));
    cgi.once('close', () => {
        const said = Buffer.concat(parts);
        const end = said.indexOf('\r\n\r\n');
        const headers = Object.fromEntries(said.subarray(0, end).toString().split('\r\n').map((line) => line.split(': ')));
        response.writeHead(Number(headers.Status?.split(' ')[0] ?? 200), headers);
        response.end(said.subarray(end + 4));
    });
}

/** Starts it below `directory`. { http, https: ports, authority: PEM, hosts, commit(file, text), close() } */
export async function packagesFrom(directory) {
    mkdirSync(directory, { recursive: true });
    const at = (name) => join(directory, name);
    const git = (...args) => execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: at('work'), stdio: 'pipe' });
    mkdirSync(at('work'));
    git('init', '-q', '-b', 'main');
    const commit = (file, text) => {
        writeFileSync(join(at('work'), file), text);
        git('add', file);
        git('commit', '-q', '-m', file);
        git('push', '-q', '../thing.git', 'main');
    };
    execFileSync('git', ['init', '-q', '--bare', '-b', 'main', at('thing.git')]);
    commit('README', 'from the repository\n');

    execFileSync('python3', ['-c', wheel, at('greeting-1.0-py3-none-any.whl')]);
    mkdirSync(at('package'));
    writeFileSync(join(at('package'), 'package.json'), JSON.stringify({ name: 'greeting', version: '1.0.0', main: 'index.js' }));
    writeFileSync(join(at('package'), 'index.js'), "module.exports = 'from the registry';\n");
    execFileSync('tar', ['-czf', 'greeting-1.0.0.tgz', 'package'], { cwd: directory });
    const archive = readFileSync(at('greeting-1.0.0.tgz'));

    const openssl = (...args) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
    openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=Test authority',
        '-keyout', 'ca.key', '-out', 'ca.pem', '-addext', 'basicConstraints=critical,CA:true', '-addext', 'keyUsage=critical,keyCertSign');
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=packages.test', '-keyout', 'tls.key', '-out', 'tls.csr');
    writeFileSync(at('tls.ext'), `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}\nbasicConstraints=CA:false\nextendedKeyUsage=serverAuth\n`);
    openssl('x509', '-req', '-in', 'tls.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'tls.ext', '-out', 'tls.pem');

    const seen = [];        // hosts that were asked, as the requests name them
    const answer = (request, response) => {
        seen.push(`${request.headers.host} ${request.url}`);
        const base = `${request.socket.encrypted ? 'https' : 'http'}://${request.headers.host}`;
        const path = request.url.split('?')[0];
        const send = (type, body) => { response.writeHead(200, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }); response.end(body); };
        if (path.startsWith('/thing.git/')) return gitOver(directory, request, response);
        if (path === '/page') return send('text/plain', 'from the page\n');
        if (path === '/simple/greeting/') return send('text/html', '<!DOCTYPE html><a href="/files/greeting-1.0-py3-none-any.whl">greeting-1.0-py3-none-any.whl</a>');
        if (path === '/files/greeting-1.0-py3-none-any.whl') return send('application/zip', readFileSync(at('greeting-1.0-py3-none-any.whl')));
        if (path === '/greeting') {
            const dist = { tarball: `${base}/greeting/-/greeting-1.0.0.tgz`, integrity: `sha512-${createHash('sha512').update(archive).digest('base64')}` };
            return send('application/json', JSON.stringify({ name: 'greeting', 'dist-tags': { latest: '1.0.0' },
                versions: { '1.0.0': { name: 'greeting', version: '1.0.0', dist } } }));
        }
        if (path === '/greeting/-/greeting-1.0.0.tgz') return send('application/gzip', archive);
        response.writeHead(404).end('no such thing\n');
    };
    const servers = [createServer(answer), createSecure({ key: readFileSync(at('tls.key')), cert: readFileSync(at('tls.pem')) }, answer)];
    for (const server of servers) await new Promise((done) => server.listen(0, '127.0.0.1', done));
    const [http, https] = servers.map((server) => server.address().port);
    return {
        http, https, seen, commit, authority: readFileSync(at('ca.pem'), 'utf8'),
        hosts: `127.0.0.1 localhost\n127.0.0.1 ${names.join(' ')}\n`,
        close: () => servers.forEach((server) => { server.close(); server.closeAllConnections(); }),
    };
}
