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
        // Before everything else, a fifth of the calls: what moves memory and whole workspaces.
        if (this.random() < 0.2) return this.#move_memory(id, ids, paths);
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

    #move_memory(id, ids, paths) {
        const roll = this.random();
        const names = [...this.workspaces.get(id).snapshots.keys()];
        if (roll < 0.25) return this.#hibernate(id);
        if (roll < 0.40) return this.#wake(id);
        if (roll < 0.57) return names.length < 2 ? this.#snapshot(id) : this.#deleteSnapshot(id, this.#pick(names));
        if (roll < 0.75 && names.length > 0) return this.#restore(id, this.#pick(names));
        if (roll < 0.83 && ids.length < 3) return this.#fork(id);
        if (roll < 0.92 || paths.length === 0) return this.#upload(id, paths.length > 0 && this.random() < 0.5 ? this.#pick(paths) : this.#name('sent'));
        return this.#download(id, this.#pick(paths));
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
            this.workspaces.set(made.workspace_id, { args, files: new Map(Object.entries(files)), processes: new Map(), snapshots: new Map() });
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

    // A workspace may have gone to sleep or not; its files, its commands and their output are the same either way. Where memory cannot
    // be kept the refusal says so, and is no change.
    async #hibernate(id) {
        this.pending = async () => {};
        const { failed, text } = await this.#call('workspace_hibernate', { workspace_id: id });
        this.pending = undefined;
        assert.ok(!failed || /cannot keep its memory here/.test(text), `workspace_hibernate: ${text}`);
        this.counts[failed ? 'hibernate refused' : 'hibernate'] = (this.counts[failed ? 'hibernate refused' : 'hibernate'] ?? 0) + 1;
    }

    #wake(id) { return this.#change('wake', 'workspace_wake', { workspace_id: id }, async () => {}, () => {}); }

    async #snapshotNames(id) {
        return (await this.#good('snapshot_list', { workspace_id: id })).snapshots.map((one) => one.name);
    }

    #snapshot(id) {
        const name = this.#name('kept');
        const { files, snapshots } = this.workspaces.get(id);
        const enter = () => snapshots.set(name, new Map(files));
        return this.#change('snapshot', 'workspace_snapshot', { workspace_id: id, name },
            async () => { if ((await this.#snapshotNames(id)).includes(name)) enter(); }, enter);
    }

    #deleteSnapshot(id, name) {
        const { snapshots } = this.workspaces.get(id);
        const gone = () => snapshots.delete(name);
        return this.#change('delete snapshot', 'snapshot_delete', { workspace_id: id, snapshot: name },
            async () => { if (!(await this.#snapshotNames(id)).includes(name)) gone(); }, gone);
    }

    // All files of the one moment or all of the other, never some of each.
    #restore(id, name) {
        const workspace = this.workspaces.get(id);
        const then = workspace.snapshots.get(name);
        const restored = () => {
            workspace.files = new Map(then);
            workspace.processes.clear();        // what they had written at that time was not noted
        };
        return this.#change('restore', 'workspace_restore', { workspace_id: id, snapshot: name }, async () => {
            const differing = [...new Set([...workspace.files.keys(), ...then.keys()])]
                .filter((path) => workspace.files.get(path) !== then.get(path));
            const found = [];
            for (const path of differing) {
                const [now, before] = [workspace.files.get(path) ?? absent, then.get(path) ?? absent];
                found.push(await this.#contentsOf(id, path, [now, before]) === before);
            }
            assert.equal(new Set(found).size <= 1, true, `${id} is half at ${name}: ${differing.map((path, i) => `${path} ${found[i]}`)}`);
            // Its commands may be those of that moment even where no file tells.
            if (found.length === 0 || found[0]) restored();
        }, restored);
    }

    #fork(id) {
        const names = [this.#name('fork'), this.#name('fork')].slice(0, 1 + Math.floor(this.random() * 2));
        const files = new Map(this.workspaces.get(id).files);
        const enter = (ids) => {
            for (const fork of ids) this.workspaces.set(fork, { args: {}, files: new Map(files), processes: new Map(), snapshots: new Map() });
        };
        return this.#change('fork', 'workspace_fork', { workspace_id: id, count: names.length, names }, async () => {
            const made = (await this.#good('workspace_list', { limit: 200 })).workspaces.filter((one) => names.includes(one.name));
            assert.ok([0, names.length].includes(made.length), `${made.length} of ${names.length} forks of ${id}`);
            enter(made.map((one) => one.workspace_id));
        }, ({ workspaces }) => enter(workspaces.map((one) => one.workspace_id)));
    }

    /** One request on a signed link. */
    async #transfer(id, path, direction, body) {
        const { url } = await this.#good('get_transfer_url', { workspace_id: id, path, direction });
        try {
            const answer = await fetch(url, body === undefined ? {} : { method: 'PUT', body });
            return { status: answer.status, text: await answer.text() };
        } catch (error) {
            throw new Unanswered(`${direction}: ${error.message}`);
        }
    }

    async #upload(id, path) {
        const { files } = this.workspaces.get(id);
        const old = files.get(path) ?? absent;
        const content = this.#contents();
        this.pending = () => this.#settle(id, path, [old, content]);
        const { status, text } = await this.#transfer(id, path, 'upload', content);
        assert.ok(status === 201 || status === 200, `upload of ${path}: ${status} ${text}`);
        this.pending = undefined;
        this.counts.upload = (this.counts.upload ?? 0) + 1;
        files.set(path, content);
    }

    async #download(id, path) {
        const { status, text } = await this.#transfer(id, path, 'download');
        assert.equal(status, 200, `download of ${path}: ${text}`);
        assert.equal(text, this.workspaces.get(id).files.get(path), `${path} in ${id}`);
        this.counts.download = (this.counts.download ?? 0) + 1;
    }

    /** How many snapshots it has. */
    get snapshots() { return [...this.workspaces.values()].reduce((sum, one) => sum + one.snapshots.size, 0); }

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
            assert.deepEqual((await this.#snapshotNames(id)).sort(), [...workspace.snapshots.keys()].sort(), `snapshots of ${id}`);
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
