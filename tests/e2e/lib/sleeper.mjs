// What a hibernation test keeps asking for: calls that must succeed, lines of a process, states and metrics.
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { HttpClient } from './wire.mjs';

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Looks until it gives something true; a minute is the most that anything may take. */
export async function until(what, look) {
    const end = Date.now() + 60_000;
    for (;;) {
        const seen = await look();
        if (seen) return seen;
        assert.ok(Date.now() < end, `not in a minute: ${what}`);
        await pause(50);
    }
}

/** One workspace of a server, through a client of its own. */
export class Sleeper {
    /** One that is there already. */
    static of(berth, id) {
        const sleeper = new Sleeper();
        sleeper.client = new HttpClient(berth);
        sleeper.id = id;
        return sleeper;
    }

    static async create(berth, args = {}) {
        const sleeper = new Sleeper();
        sleeper.client = new HttpClient(berth);
        sleeper.id = (await sleeper.must('workspace_create', args)).workspace_id;
        return sleeper;
    }

    /** After the server was started again. */
    reconnect(berth) {
        this.client.close();
        this.client = new HttpClient(berth);
    }

    call(name, args = {}) { return this.client.call(name, { ...(this.id ? { workspace_id: this.id } : {}), ...args }); }

    async must(name, args = {}) {
        const answer = await this.call(name, args);
        assert.ok(!answer.failed, `${name}: ${answer.text}`);
        return answer.structured;
    }

    async state() { return (await this.must('workspace_get')).state; }

    hibernate(args = {}) { return this.must('workspace_hibernate', args); }

    /** A command's output; it must end well. */
    async run(command) {
        const done = await this.must('run_command', { command });
        assert.equal(done.exit_code, 0, done.output);
        return done.output;
    }

    /** Starts a program that answers lines. */
    async start(command, more = {}) {
        const { process_id } = await this.must('run_command', { command, background: true, ...more });
        return new Talk(this, process_id);
    }

    /** With a program that runs already, from what it wrote at `cursor` on. */
    talk(process_id, cursor = 0) { return new Talk(this, process_id, cursor); }

    close() { this.client.close(); }
}

class Talk {
    constructor(sleeper, process_id, cursor = 0) {
        this.sleeper = sleeper;
        this.process_id = process_id;
        this.cursor = cursor;
        this.heard = '';
    }

    /** Everything it wrote since the last look, until it matches. */
    async hear(pattern) {
        for (const end = Date.now() + 60_000; ;) {
            const found = this.heard.match(pattern);
            if (found) {
                this.heard = this.heard.slice(found.index + found[0].length);
                return found;
            }
            assert.ok(Date.now() < end, `not heard ${pattern}: ${this.heard}`);
            const { client } = this.sleeper;
            const part = await client.call('read_process_output', { process_id: this.process_id, cursor: this.cursor, wait_ms: 5_000 });
            assert.ok(!part.failed, part.text);
            this.cursor = part.structured.cursor;
            this.heard += part.structured.output;
            assert.ok(part.structured.state === 'running' || pattern.test(this.heard),
                `it ended: ${this.heard} ${part.text}`);
        }
    }

    async say(line, pattern) {
        const { client } = this.sleeper;
        const sent = await client.call('send_process_input', { process_id: this.process_id, input: `${line}\n`, wait_ms: 0 });
        assert.ok(!sent.failed, sent.text);
        return this.hear(pattern);
    }
}

/** Names of files of a memory image, by what is in them: gVisor's, or CRIU's, which has a set of them for each process. */
export function imageFiles(directory) {
    const names = readdirSync(directory);
    if (names.includes('checkpoint.img')) return { pages: 'pages.img', state: 'checkpoint.img', index: 'pages_meta.img' };
    const size = (name) => statSync(join(directory, name)).size;
    const [pages] = names.filter((name) => /^pages-\d+\.img$/.test(name)).sort((a, b) => size(b) - size(a));
    return { pages, state: 'core-1.img', index: 'pagemap-1.img' };
}

/** Kills the server `faults` times in the midst of a sleep and of a wake; `count` asserts that the memory is what it was. Gives how often
 *  the workspace was found in which state. */
export async function killServerAsleep(berth, w, count, faults, random = () => 0.5) {
    const seen = {};
    for (const step of ['workspace_hibernate', 'workspace_wake']) {
        for (let n = 0; n < faults; n++) {
            await count();
            // How long it takes here and now; the moments are spread over that.
            const slept = await w.hibernate();
            const woken = await w.must('workspace_wake');
            if (step === 'workspace_wake') await w.hibernate();
            const { took_ms } = step === 'workspace_wake' ? woken : slept;
            const call = w.call(step).catch(() => {});
            await pause((n + random()) / faults * took_ms * 1.2);
            await berth.crash();
            await call;
            await berth.serve();
            w.reconnect(berth);
            const state = await w.state();
            seen[`${step} ${state}`] = (seen[`${step} ${state}`] ?? 0) + 1;
            await count();
            assert.equal((await w.must('workspace_get')).last_error, undefined);
        }
    }
    return seen;
}

export async function metrics(berth) {
    const headers = { Authorization: `Bearer ${berth.token}` };
    const text = await (await fetch(berth.url.replace('/mcp', '/metrics'), { headers })).text();
    return (name) => Number(text.match(new RegExp(`^${name.replace(/[{}]/g, '\\$&')} (\\d+)$`, 'm'))?.[1] ?? 0);
}
