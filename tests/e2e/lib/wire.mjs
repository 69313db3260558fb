// JSON-RPC as it stands on the wire, for tests that an official client would not let us write: equal ids, broken
// messages, hang-ups, many calls at once. HTTP and stdio, the 2026 revision and the 2025 ones.
import { spawn } from 'node:child_process';
import { Agent, request } from 'node:http';
import { createInterface } from 'node:readline';

const revision = '2026-07-28';
const claims = {
    'io.modelcontextprotocol/protocolVersion': revision,
    'io.modelcontextprotocol/clientCapabilities': {},
};
const me = { name: 'berth-e2e', version: '1' };

/** A tools/call message; with `claims` when it is of the stateless revision. */
export const callMessage = (id, name, args, modern = true) => ({
    jsonrpc: '2.0', id, method: 'tools/call',
    params: { name, arguments: args, ...(modern ? { _meta: claims } : {}) },
});

/** An answer of tools/call in short: { failed, text, structured }. A JSON-RPC error counts as failed. */
export function outcome(message) {
    if (message.error) return { failed: true, text: message.error.message, code: message.error.code };
    const texts = (message.result.content ?? []).filter((block) => block.type === 'text').map((block) => block.text);
    return {
        failed: message.result.isError === true, text: texts.join('\n'), structured: message.result.structuredContent,
    };
}

/** One client over HTTP; its connections are its own. */
export class HttpClient {
    #agent = new Agent({ keepAlive: true, maxSockets: 64 });

    constructor(berth) {
        this.port = berth.port;
        this.token = berth.token;
        this.next = 1;
    }

    /** Posts bytes as they are. Gives { status, headers, messages }; rejects when the connection breaks. */
    post(body, headers = {}, signal = undefined) {
        return new Promise((done, failed) => {
            const asked = request({
                host: '127.0.0.1', port: this.port, path: '/mcp', method: 'POST', agent: this.#agent, signal,
                headers: {
                    Authorization: `Bearer ${this.token}`, 'Content-Type': 'application/json',
                    Accept: 'application/json, text/event-stream', 'Content-Length': Buffer.byteLength(body), ...headers,
                },
            }, (answer) => {
                const parts = [];
                answer.on('data', (part) => parts.push(part));
                answer.on('error', failed);      // may come again after the first
                answer.once('end', () => {
                    const text = Buffer.concat(parts).toString('utf8');
                    const stream = (answer.headers['content-type'] ?? '').startsWith('text/event-stream');
                    try {
                        done({ status: answer.statusCode, headers: answer.headers, messages: stream
                            ? text.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trim())
                                .filter((data) => data !== '').map((data) => JSON.parse(data))
                            : text === '' ? [] : [JSON.parse(text)] });
                    } catch {
                        failed(new Error(`status ${answer.statusCode}: ${text.slice(0, 500)}`));
                    }
                });
            });
            asked.on('error', failed);
            asked.end(body);
        });
    }

    /** Begins a session of the 2025 revisions; calls then belong to it. */
    async initialize() {
        const answer = await this.post(JSON.stringify({
            jsonrpc: '2.0', id: 0, method: 'initialize',
            params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: me },
        }));
        this.session = answer.headers['mcp-session-id'];
        await this.post(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' }), this.#era());
        return this;
    }

    /** The response to one tool call, with any notifications before it left out. */
    async ask(id, name, args, signal = undefined) {
        const body = JSON.stringify(callMessage(id, name, args, !this.session));
        const routing = this.session ? {} : { 'Mcp-Method': 'tools/call', 'Mcp-Name': name };
        const { status, messages } = await this.post(body, { ...this.#era(), ...routing }, signal);
        const response = messages.find((message) => 'result' in message || 'error' in message);
        if (!response) throw new Error(`status ${status} and no response: ${JSON.stringify(messages)}`);
        return response;
    }

    async call(name, args, signal = undefined) { return outcome(await this.ask(this.next++, name, args, signal)); }

    /** A notification of the session's; of no use to the stateless revision, which hangs up instead. */
    cancel(id) {
        return this.post(JSON.stringify({
            jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id, reason: 'test' },
        }), this.#era());
    }

    close() { this.#agent.destroy(); }

    #era() {
        return this.session
            ? { 'MCP-Protocol-Version': '2025-11-25', 'Mcp-Session-Id': this.session }
            : { 'MCP-Protocol-Version': revision };
    }
}

/** One client over stdin and stdout of a process of its own. */
export class StdioClient {
    #waiting = new Map();       // by id, as JSON
    #unasked = [];              // answers that nobody waits for by id
    #unaskedWaiters = [];
    #gone;                      // why there is no process any more

    constructor(berth) {
        const [command, ...args] = berth.stdio;
        this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
        this.log = '';
        this.process.stderr.on('data', (text) => { this.log = (this.log + text).slice(-16_000); });
        this.process.stdin.on('error', () => {});   // the end of the process says it better
        this.ended = new Promise((done) => this.process.once('close', (code, signal) => {
            this.#gone = new Error(`berth stdio ended with ${code ?? signal}:\n${this.log}`);
            for (const { failed } of [...this.#waiting.values(), ...this.#unaskedWaiters]) failed(this.#gone);
            done(code ?? signal);
        }));
        createInterface({ input: this.process.stdout }).on('line', (line) => this.#take(JSON.parse(line)));
        this.next = 1;
        this.modern = true;
    }

    #take(message) {
        if (message.method !== undefined) return;
        const waiter = this.#waiting.get(JSON.stringify(message.id));
        this.#waiting.delete(JSON.stringify(message.id));
        if (waiter) return waiter.done(message);
        const other = this.#unaskedWaiters.shift();
        if (other) return other.done(message);
        this.#unasked.push(message);
    }

    /** Bytes as they are. */
    write(bytes) { this.process.stdin.write(bytes); }

    send(message) { this.write(`${JSON.stringify(message)}\n`); }

    /** Sends and waits for the answer with the same id. */
    exchange(message) {
        if (this.#gone) return Promise.reject(this.#gone);
        return new Promise((done, failed) => {
            this.#waiting.set(JSON.stringify(message.id), { done, failed });
            this.send(message);
        });
    }

    /** The next answer that no `exchange` waits for. */
    unasked() {
        if (this.#unasked.length > 0) return Promise.resolve(this.#unasked.shift());
        if (this.#gone) return Promise.reject(this.#gone);
        return new Promise((done, failed) => this.#unaskedWaiters.push({ done, failed }));
    }

    /** Speaks a 2025 revision from now on. */
    async initialize() {
        this.modern = false;
        await this.exchange({ jsonrpc: '2.0', id: 'init', method: 'initialize',
            params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: me } });
        this.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
        return this;
    }

    ask(id, name, args) { return this.exchange(callMessage(id, name, args, this.modern)); }

    async call(name, args) { return outcome(await this.ask(this.next++, name, args)); }

    cancel(id) {
        // Nobody is told of the cancelled one any more; its waiter must not keep a later id from its answer.
        this.#waiting.delete(JSON.stringify(id));
        this.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id, reason: 'test' } });
    }

    async close() {
        this.process.stdin.end();
        return this.ended;
    }
}
