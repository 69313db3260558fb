// A berth server of a test's own: fresh data directory, free port, small stock. Started before the tests, stopped by
// its own `berth down`, and nothing of it is left behind.
import { spawn, execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync, readFileSync, readdirSync, rmSync, existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export const binary = process.env.BERTH ?? 'build/release/bin/berth';

/** What the suites' workspaces run in, unless they ask for another one: BERTH_RUNTIME=native runs a suite once more on the machine's own kernel. */
export const runtime = process.env.BERTH_RUNTIME ?? 'gvisor';
const stocks = {
    gvisor: 'pools:\n    base:\n        ready: 2\n        awake: 1\n',
    native: 'pools:\n    base:\n        ready: 0\n        awake: 0\nnative:\n    allow: true\n    templates: [base]\n    ready: 2\n',
};
if (!stocks[runtime]) throw new Error(`BERTH_RUNTIME is ${runtime}: expected gvisor or native`);

/** Why the tests cannot run here, or ''. Said aloud by the caller: a skipped run proves nothing. */
export function missing() {
    if (process.getuid() !== 0) return 'this needs root';
    if (!existsSync('/var/lib/berth/templates/base/rootfs')) return 'the base template is missing (scripts/setup)';
    return '';
}

async function freePort() {
    const probe = createServer();
    await new Promise((done) => probe.listen(0, '127.0.0.1', done));
    const { port } = probe.address();
    await new Promise((done) => probe.close(done));
    return port;
}

/** The command on a machine where other files stand in place of some: `over` gives the file by path. In a mount namespace of its own. */
export function elsewhere(over, command) {
    const places = Object.entries(over);
    if (places.length === 0) return command;
    const put = 'for n in $(seq "$0"); do mount --bind "$2" "$1" || exit 1; shift 2; done; exec "$@"';
    return ['unshare', '--mount', 'sh', '-c', put, `${places.length}`, ...places.flat(), ...command];
}

/** The command on a machine that does not have these files: each is /dev/null, which is no program. */
export const without = (hidden, command) => elsewhere(Object.fromEntries(hidden.map((file) => [file, '/dev/null'])), command);

export class Berth {
    /** Resolves once the server says that it is ready. `config` is more of berth.yaml than the small stock,
     *  `servers` what its servers.json holds, `machine` what is odd about where it runs: files that are `hidden` from it,
     *  others that stand `over` its own, its `umask`. */
    static async start(config = '', servers = undefined, machine = {}) {
        const berth = new Berth();
        berth.config = config;
        berth.machine = { hidden: [], over: {}, ...machine };
        berth.directory = mkdtempSync(join(tmpdir(), 'berth-e2e-'));
        berth.data = join(berth.directory, 'data');
        berth.port = await freePort();
        berth.url = `http://127.0.0.1:${berth.port}/mcp`;
        berth.log = '';
        if (servers) {
            mkdirSync(berth.data, { mode: 0o700 });
            berth.configure(servers);
        }
        try {
            await berth.serve();
            await berth.#isOf(runtime);
        } catch (error) {
            await berth.stop().catch(() => {});     // the first error is the one that matters
            throw error;
        }
        return berth;
    }

    /** Writes servers.json; a running server takes it up by itself. */
    configure(servers) {
        const text = typeof servers === 'string' ? servers : JSON.stringify({ mcpServers: servers }, null, 4);
        writeFileSync(join(this.data, 'servers.json'), text, { mode: 0o600 });
    }

    /** The operator's command: a tool of any toolset. Gives its structured result, or its text; throws what it said. */
    async tool(name, args = {}) {
        const { stdout } = await run(binary, ['tool', name, JSON.stringify(args), '--data', this.data],
            { timeout: 120_000, maxBuffer: 16 << 20 })
            .catch((error) => { throw new Error(`${name}: ${error.stdout}${error.stderr}`); });
        try {
            return JSON.parse(stdout);
        } catch {
            return stdout;
        }
    }

    /** Starts the server process, on the same data and port as before, and waits until it is ready. */
    async serve() {
        await this.launch();
        await this.#ready();
    }

    /** Starts the server process; it may not be ready for a while. */
    async launch() {
        writeFileSync(this.configFile, `${stocks[runtime]}${this.config}`);
        const { hidden, over, umask } = this.machine;
        const [program, ...args] = elsewhere({ ...Object.fromEntries(hidden.map((file) => [file, '/dev/null'])), ...over },
            [binary, 'serve', '--data', this.data, '--listen', `127.0.0.1:${this.port}`, '--config', this.configFile]);
        const ours = umask === undefined ? undefined : process.umask(umask);    // a child has its parent's
        this.process = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
        if (ours !== undefined) process.umask(ours);
        for (const stream of [this.process.stdout, this.process.stderr]) {
            stream.on('data', (text) => { this.log = (this.log + text).slice(-64_000); });
        }
        this.ended = new Promise((done) => {
            this.process.once('error', (error) => { this.log += error; done(error.code); });
            this.process.once('exit', (code, signal) => done(code ?? signal));
        });
    }

    // A suite that asked for native workspaces proves nothing if it does not get them.
    async #isOf(kind) {
        if (kind === 'gvisor') return;
        const { workspace_id, runtime: got } = await this.tool('workspace_create');
        if (got !== kind) throw new Error(`workspaces are of ${got}, not of ${kind}`);
        await this.tool('workspace_delete', { workspace_id });
    }

    /** The server dies without a chance to clean up; its sandboxes live on. */
    async crash() {
        this.process.kill('SIGKILL');
        await this.ended;
    }

    async #ready() {
        let status;
        this.ended.then((value) => { status = value; });
        for (let tries = 0; tries < 2400; tries++) {
            if (status !== undefined) throw new Error(`berth serve ended with ${status}:\n${this.log}`);
            const answer = await fetch(`http://127.0.0.1:${this.port}/readyz`).catch(() => undefined);
            if (answer?.ok) return;
            await pause(25);
        }
        throw new Error(`berth serve was not ready in a minute:\n${this.log}`);
    }

    get token() { return readFileSync(join(this.data, 'token'), 'utf8').trim(); }

    get configFile() { return join(this.directory, 'berth.yaml'); }

    /** argv of a stdio client on a data directory apart from this server, program first. */
    get stdio() {
        const own = [binary, 'stdio', '--data', join(this.directory, 'stdio')];
        return runtime === 'gvisor' ? own : [...own, '--config', this.configFile];
    }

    /** Ends the server and its sandboxes by its own command, or the hard way; '' or what was wrong. */
    async down() {
        const down = await run(binary, ['down', '--data', this.data], { timeout: 60_000 }).catch((error) => error);
        let timer;
        const limit = new Promise((done) => { timer = setTimeout(() => done(false), 30_000); });
        const ended = await Promise.race([this.ended.then(() => true), limit]);
        clearTimeout(timer);
        if (ended) return '';
        this.process.kill('SIGKILL');
        return `berth down did not end the server: ${down.stderr ?? down}\n${this.log}`;
    }

    /** Ends the server and makes sure that nothing of it is left: process, sandbox or mount. */
    async stop() {
        const failed = await this.down();
        const left = this.#remove();
        if (failed) throw new Error(failed);
        if (left.length > 0) throw new Error(`berth left behind:\n${left.join('\n')}\n${this.log}`);
    }

    // What names our directory is ours. Mounts are undone before the directory goes, so that nothing is deleted
    // through them.
    #remove() {
        const left = [];
        for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
            let command = '';
            try {
                command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
            } catch { /* it has ended meanwhile */ }
            if (!command.includes(`${this.directory}/`)) continue;
            left.push(`process ${pid}: ${command}`);
            try {
                process.kill(Number(pid), 'SIGKILL');
            } catch { /* likewise */ }
        }
        const points = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => line.split(' ')[4] ?? '')
            .filter((point) => point.startsWith(`${this.directory}/`));
        for (const point of points.reverse()) {
            left.push(`mount ${point}`);
            try {
                execFileSync('umount', ['-l', point], { stdio: 'ignore' });
            } catch { /* it went with another one, of which it was a copy */ }
        }
        rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
        return left;
    }
}
