// Visitors of previews without a library, and the program that they visit: what it saw, streams, an upload's hash, a
// WebSocket echo. Names are not resolved: everything goes to the port that the test names.
import { randomBytes } from 'node:crypto';
import { request as plain } from 'node:http';
import { request as secure } from 'node:https';

/** A file for Node >= 18 that listens on 3000, or the port that it is given. */
export const app = `
const { createServer } = require('node:http');
const { createHash } = require('node:crypto');
const server = createServer((req, res) => {
    const path = req.url.split('?')[0];
    if (path === '/hash') {
        const hash = createHash('sha256');
        let bytes = 0;
        req.on('data', (d) => { hash.update(d); bytes += d.length; });
        req.on('end', () => res.end(JSON.stringify({ bytes, sha256: hash.digest('hex') })));
        return;
    }
    if (path === '/big') {
        const piece = Buffer.alloc(1 << 20, 7);
        let left = Number(new URL(req.url, 'http://x').searchParams.get('mib'));
        const more = () => {
            while (left-- > 0) if (!res.write(piece)) return res.once('drain', more);
            res.end();
        };
        return more();
    }
    if (path === '/events') {
        res.writeHead(200, { 'Content-Type': 'text/event-stream' });
        let n = 0;
        const timer = setInterval(() => res.write('data: ' + n++ + '\\n\\n'), 20);
        return req.on('close', () => clearInterval(timer));
    }
    if (path === '/range') {
        const all = '0123456789';
        const m = /bytes=(\\d+)-(\\d+)/.exec(req.headers.range ?? '');
        if (!m) return res.end(all);
        res.writeHead(206, { 'Content-Range': 'bytes ' + m[1] + '-' + m[2] + '/10' });
        return res.end(all.slice(+m[1], +m[2] + 1));
    }
    let body = '';
    req.on('data', (d) => { body += d; });
    req.on('end', () => {
        console.log('served ' + req.method + ' ' + req.url);
        res.writeHead(200, { 'Set-Cookie': 'a=1; Domain=.localhost; Path=/', 'Content-Type': 'application/json', 'Alt-Svc': 'h3=":1"' });
        res.end(JSON.stringify({ method: req.method, url: req.url, headers: req.headers, raw: req.rawHeaders, body, pid: process.pid }));
    });
});
server.on('upgrade', (req, socket) => {
    const accept = createHash('sha1').update(req.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n');
    let seen = Buffer.alloc(0);
    socket.on('data', (d) => {
        seen = Buffer.concat([seen, d]);
        for (;;) {
            if (seen.length < 6) return;
            const size = seen[1] & 127;
            if (size > 125 || seen.length < 6 + size) return;
            const mask = seen.subarray(2, 6);
            const text = Buffer.from(seen.subarray(6, 6 + size).map((b, i) => b ^ mask[i % 4]));
            const op = seen[0] & 15;
            seen = seen.subarray(6 + size);
            if (op === 8) return socket.end(Buffer.from([0x88, 0]));
            const reply = Buffer.from('echo ' + text + ' at ' + req.headers.host);
            socket.write(Buffer.concat([Buffer.from([0x81, reply.length]), reply]));
        }
    });
});
server.listen(Number(process.argv[2] ?? 3000), '127.0.0.1', () => console.log('up'));
`;

/** One masked text frame of at most 125 bytes. */
export function frame(text, op = 1) {
    const bytes = Buffer.from(text);
    const mask = randomBytes(4);
    return Buffer.concat([Buffer.from([0x80 | op, 0x80 | bytes.length]), mask, bytes.map((b, i) => b ^ mask[i % 4])]);
}

// Where to connect for a URL, and how: over TLS its host is also the name that the certificate has to have.
function dial(url, port, more) {
    const u = new URL(url);
    const tls = u.protocol === 'https:';
    const request = tls ? secure : plain;
    return { u, request, to: { host: '127.0.0.1', port, agent: false, ...(tls ? { servername: u.hostname } : {}), ...more } };
}

/** A request to a preview as a browser would send it. `more`: for the connection, as of node:http: `ca`, `agent`, `localAddress`. */
export function ask(url, port, { method = 'GET', headers = {}, body, ...more } = {}) {
    return new Promise((done, fail) => {
        const { u, request, to } = dial(url, port, more);
        const out = request({ ...to, path: u.pathname + u.search, method, headers: { Host: u.host, ...headers } }, (res) => {
            const parts = [];
            const { socket } = res;        // it leaves the answer with its end
            const certificate = socket.getPeerCertificate?.();
            res.on('data', (d) => parts.push(d));
            res.on('end', () => done({ status: res.statusCode, headers: res.headers, text: Buffer.concat(parts).toString(), socket, certificate }));
            res.on('error', fail);
        });
        out.on('error', fail);
        out.end(body);
    });
}

/** A WebSocket: say(text) resolves to the answer; `ended` once the socket has closed. One that is refused gives only `status`. */
export function websocket(url, port, headers = {}, more = {}) {
    return new Promise((done, fail) => {
        const { u, request, to } = dial(url, port, more);
        const out = request({ ...to, path: '/socket', headers: {
            Host: u.host, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13',
            'Sec-WebSocket-Key': randomBytes(16).toString('base64'), ...headers } });
        out.on('response', (res) => { res.resume(); done({ status: res.statusCode }); });
        out.on('error', fail);
        out.on('upgrade', (res, socket, head) => {
            const waiting = [];
            let seen = head;
            const take = () => {
                while (seen.length >= 2 && seen.length >= 2 + seen[1]) {
                    waiting.shift()?.(seen.subarray(2, 2 + seen[1]).toString());
                    seen = seen.subarray(2 + seen[1]);
                }
            };
            socket.on('data', (d) => { seen = Buffer.concat([seen, d]); take(); });
            socket.on('error', () => {});
            const ended = new Promise((closed) => { socket.on('close', closed); });
            // Nothing more comes once it has ended.
            socket.on('close', () => { for (const got of waiting.splice(0)) got(undefined); });
            done({ status: 101, socket, ended,
                say: (text) => new Promise((got) => { waiting.push(got); socket.write(frame(text)); }) });
        });
        out.end();
    });
}

/** The header with which a program that was given a link gets in. */
export const token = (made) => ({ 'Berth-Preview-Token': made.token });
export const origin = (made) => new URL(made.url).origin;
