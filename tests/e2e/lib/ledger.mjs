// One client of a server that is killed again and again, with a book of what was acknowledged to it. Each call is entered
// before it is sent and settled by its answer. What has no answer because the server died may have happened or not, but
// nothing in between; what has one must be there ever after.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { HttpClient } from './wire.mjs';

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/** A generator of numbers in [0, 1) that a seed determines (mulberry32). */
export function randomFrom(seed) {
    let state = seed >>> 0;
    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let z = state;
        z = Math.imul(z ^ (z >>> 15), z | 1);
        z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
        return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
    };
}

/** The server died before it answered. */
class Unanswered extends Error {}

const absent = null;                // contents of a file that is not there

export class Ledger {
    #serial = 0;
    #http;
    counts = {};                    // acknowledged calls by kind

    constructor(name, random, { legacy = false } = {}) {
        this.name = name;
        this.random = random;
        this.legacy = legacy;
        this.workspaces = new Map();    // id to { key, args, files: path to contents, processes: id to its output }
        this.deleted = new Set();
        this.pending = undefined;       // async () => {...}: finds out, after the restart, what the last call came to
    }

    async connect(berth) {
        this.#http?.close();
        this.#http = new HttpClient(berth);
        if (this.legacy) await this.#http.initialize();
    }

    close() { this.#http?.close(); }

    #pick(list) { return list[Math.floor(this.random() * list.length)]; }
    #name(kind) { return `${kind}-${this.name}-${++this.#serial}`; }
    #contents() { return `${this.#name('text')} `.repeat(1 + Math.floor(this.random() ** 3 * 2000)); }

    async #call(name, args) {
        try {
            return await this.#http.call(name, args);
        } catch (error) {
            throw new Unanswered(`${name}: ${error.message}`);
        }
    }

    async #good(name, args) {
        const answer = await this.#call(name, args);
        assert.ok(!answer.failed, `${name} ${JSON.stringify(args).slice(0, 300)}: ${answer.text}`);
        return answer.structured;
    }

    /** Calls at random until the server is gone; `before` is told of each. */
    async work(before) {
        try {
            for (;;) {
                before();
                await this.#step();
            }
        } catch (error) {
            if (!(error instanceof Unanswered)) throw error;
        }
    }

    async #step() {
        const ids = [...this.workspaces.keys()];
        if (ids.length === 0) return this.#create();
        const id = this.#pick(ids);
        const paths = [...this.workspaces.get(id).files.keys()];
        const roll = this.random();
        if (roll < 0.08) return ids.length < 3 ? this.#create() : this.#delete(id);
        if (roll < 0.10) return this.#delete(id);
        if (roll < 0.20) return this.#run(id);
        if (roll < 0.28) return this.#background(id);
        if (paths.length === 0 || roll < 0.50) return this.#write(id, this.#name('file'));
        const path = this.#pick(paths);
        if (roll < 0.60) return this.#write(id, path);
        if (roll < 0.70) return this.#append(id, path);
        if (roll < 0.80) return this.#edit(id, path);
        if (roll < 0.88) return this.#move(id, path);
        if (roll < 0.92) return this.#copy(id, path);
        return paths.length > 6 ? this.#remove(id, path) : this.#read(id, path);
    }

    /** Sends a change. `unknown` is kept as pending while there is no answer, `done` enters it. */
    async #change(kind, name, args, unknown, done) {
        this.pending = unknown;
        const result = await this.#good(name, args);
        this.pending = undefined;
        this.counts[kind] = (this.counts[kind] ?? 0) + 1;
        await done(result);
    }

    #create() {
        const files = {};
        for (let count = Math.floor(this.random() * 4); count > 0; count--) files[`${this.#name('dir')}/first`] = this.#contents();
        const args = { files, idempotency_key: this.#name('key') };
        if (this.random() < 0.3) args.name = this.#name('name');
        if (this.random() < 0.2) args.limits = { disk: '40MiB' };       // none of these in stock
        const enter = (made) => {
            assert.ok(!this.deleted.has(made.workspace_id), 'a deleted workspace came back');
            this.workspaces.set(made.workspace_id, { args, files: new Map(Object.entries(files)), processes: new Map() });
        };
        // The same key again gives the one that there is, whole, or makes it.
        return this.#change('create', 'workspace_create', args,
            async () => enter(await this.#good('workspace_create', args)), enter);
    }

    #delete(id) {
        const gone = () => {
            this.workspaces.delete(id);
            this.deleted.add(id);
        };
        return this.#change('delete', 'workspace_delete', { workspace_id: id }, async () => {
            const { failed, structured } = await this.#call('workspace_get', { workspace_id: id });
            if (failed) return gone();
            assert.notEqual(structured.state, 'deleting', 'a deletion is half done after a restart');
        }, gone);
    }

    // After a change without an answer the file is as one of `outcomes` says.
    async #settle(id, path, outcomes) {
        const contents = await this.#contentsOf(id, path, outcomes);
        if (contents === absent) this.workspaces.get(id).files.delete(path);
        else this.workspaces.get(id).files.set(path, contents);
    }

    async #contentsOf(id, path, outcomes) {
        const read = await this.#call('read_file', { workspace_id: id, path });
        const found = read.failed
            ? (/does not exist/.test(read.text) ? absent : assert.fail(`read_file ${path}: ${read.text}`))
            : outcomes.find((text) => text !== absent && sha256(text) === read.structured.sha256);
        assert.ok(found !== undefined && outcomes.includes(found),
            `${path} in ${id} is ${JSON.stringify(read.structured ?? read.text)}, and none of ` +
            JSON.stringify(outcomes.map((text) => text?.slice(0, 60) ?? 'absent')));
        return found;
    }

    #write(id, path) {
        const { files } = this.workspaces.get(id);
        const content = this.#contents();
        const old = files.get(path) ?? absent;
        return this.#change('write', 'write_file', { workspace_id: id, path, content },
            () => this.#settle(id, path, [old, content]), () => files.set(path, content));
    }

    #append(id, path) {
        const { files } = this.workspaces.get(id);
        const old = files.get(path);
        const more = `and ${this.#name('more')}\n`;
        const parts = [...more].map((_, count) => old + more.slice(0, count));
        return this.#change('append', 'write_file', { workspace_id: id, path, content: more, mode: 'append' },
            () => this.#settle(id, path, [...parts, old + more]), () => files.set(path, old + more));
    }

    #edit(id, path) {
        const { files } = this.workspaces.get(id);
        const old = files.get(path);
        const word = old.split(' ')[0];
        const edits = [{ old_string: word, new_string: this.#name('edited'), replace_all: true }];
        const edited = old.replaceAll(word, edits[0].new_string);
        return this.#change('edit', 'edit_file', { workspace_id: id, path, edits },
            () => this.#settle(id, path, [old, edited]), () => files.set(path, edited));
    }

    #move(id, path) {
        const { files } = this.workspaces.get(id);
        const to = `${this.#name('moved')}/file`;
        const text = files.get(path);
        const moved = () => {
            files.delete(path);
            files.set(to, text);
        };
        return this.#change('move', 'move_file', { workspace_id: id, path, to }, async () => {
            if (await this.#contentsOf(id, path, [text, absent]) === absent) moved();
            await this.#contentsOf(id, to, [files.get(to) ?? absent]);
        }, moved);
    }

    #copy(id, path) {
        const { files } = this.workspaces.get(id);
        const to = this.#name('copy');
        const text = files.get(path);
        return this.#change('copy', 'copy_file', { workspace_id: id, path, to },
            () => this.#settle(id, to, [absent, text]), () => files.set(to, text));
    }

    #remove(id, path) {
        const { files } = this.workspaces.get(id);
        const text = files.get(path);
        return this.#change('remove', 'delete_file', { workspace_id: id, path },
            () => this.#settle(id, path, [text, absent]), () => files.delete(path));
    }

    async #read(id, path) { await this.#contentsOf(id, path, [this.workspaces.get(id).files.get(path)]); }

    // What a command does goes on inside when the server dies, so each has a file of its own, given up when unanswered.
    #run(id) {
        const path = this.#name('ran');
        const content = `by ${path}\n`;
        return this.#change('run', 'run_command', { workspace_id: id, command: `echo "by ${path}" > ${path}; cat ${path}` },
            async () => {}, (ended) => {
                assert.equal(ended.output, content);
                this.workspaces.get(id).files.set(path, content);
            });
    }

    #background(id) {
        const tag = this.#name('line');
        const count = 1 + Math.floor(this.random() * 40);
        const output = Array.from({ length: count }, (_, i) => `${tag} ${i + 1}\n`).join('');
        const slow = this.random() < 0.3 ? 'sleep 0.1; ' : '';
        const command = `for i in $(seq ${count}); do ${slow}echo ${tag} $i; done; exit ${count}`;
        return this.#change('background', 'run_command', { workspace_id: id, command, background: true }, async () => {},
            ({ process_id }) => this.workspaces.get(id).processes.set(process_id, { output, code: count }));
    }

    /** After a restart: everything acknowledged is there, everything deleted is not, and the last call is settled. */
    async check() {
        const settle = this.pending;
        this.pending = undefined;
        await settle?.();
        const listed = (await this.#good('workspace_list', { limit: 200 })).workspaces.map((w) => w.workspace_id);
        for (const id of this.deleted) assert.ok(!listed.includes(id), `${id} was deleted and is back`);
        for (const [id, workspace] of this.workspaces) {
            assert.ok(listed.includes(id), `${id} is lost`);
            for (const [path, contents] of workspace.files) await this.#contentsOf(id, path, [contents]);
            for (const [process_id, expected] of workspace.processes) await this.#checkProcess(id, process_id, expected);
        }
        return [...this.workspaces.keys()];
    }

    async #checkProcess(id, process_id, { output, code }) {
        const seen = await this.#good('read_process_output', { process_id });
        const about = `${process_id} in ${id}: ${JSON.stringify(seen).slice(0, 500)}`;
        assert.ok(output.startsWith(seen.output), about);
        if (seen.state !== 'exited') return;
        // It ran to its end, and all of its output is there; or its sandbox ended, and the answer says that.
        if (seen.reason === 'exit') {
            assert.equal(seen.output, output, about);
            assert.equal(seen.exit_code, code, about);
        } else {
            assert.ok(['lost', 'killed', 'stopped'].includes(seen.reason), about);
            this.counts.interrupted = (this.counts.interrupted ?? 0) + 1;
        }
        this.workspaces.get(id).processes.delete(process_id);   // nothing more can come
    }

    /** Every name in the workspaces, for the checker of leftovers: a file being written may not stay behind. */
    async names() {
        const names = [];
        for (const id of this.workspaces.keys()) {
            const { entries } = await this.#good('list_directory', { workspace_id: id });
            names.push(...entries.map((entry) => entry.name));
        }
        return names;
    }

    async deleteAll() {
        for (const id of [...this.workspaces.keys()]) await this.#delete(id);
    }

    /** What the server says of itself. */
    async list() { return (await this.#good('workspace_list', { limit: 200 })).workspaces; }
}
