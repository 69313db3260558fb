// Paths that try to lead out of a workspace, given to every tool that takes one: as text, as links, as
// things that are no files, and with links and renames racing from inside while the host works. Whatever the answer, nothing
// of the host is read or changed, and the next call is answered.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { unaccounted, volumeOf } from './lib/remains.mjs';
import { suite } from './lib/suite.mjs';
import { HttpClient } from './lib/wire.mjs';

const secret = 'only the host may read this';

/** Every way in which a file tool takes a path, as [what, tool, arguments]. */
const uses = (path) => [
    ['read_file', 'read_file', { path }],
    ['write_file', 'write_file', { path, content: 'written by the client' }],
    ['write_file append', 'write_file', { path, content: 'appended by the client', mode: 'append' }],
    ['edit_file', 'edit_file', { path, edits: [{ old_string: 'host', new_string: 'client' }] }],
    ['search_files by name', 'search_files', { path, glob: '*' }],
    ['search_files by content', 'search_files', { path, regex: '.' }],
    ['list_directory', 'list_directory', { path }],
    ['make_directory', 'make_directory', { path }],
    ['copy_file from', 'copy_file', { path, to: `copies/${Math.random()}` }],
    ['copy_file to', 'copy_file', { path: 'plain.txt', to: path }],
    ['move_file from', 'move_file', { path, to: `moves/${Math.random()}` }],
    ['move_file to', 'move_file', { path: 'plain.txt', to: path, overwrite: true }],
    ['delete_file', 'delete_file', { path }],
    ['delete_file recursive', 'delete_file', { path, recursive: true }],
];

/** A tree as one text: names, sizes, times and contents, links not followed. */
function snapshot(directory) {
    return readdirSync(directory, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1)).map((entry) => {
        const path = join(directory, entry.name);
        const { size, mtimeMs, mode } = statSync(path);
        return `${path} ${size} ${mtimeMs} ${mode} ${entry.isDirectory() ? snapshot(path) : readFileSync(path)}`;
    }).join('\n');
}

suite((berth) => {
    let client, id, outside, before;

    const here = (name, args = {}) => client.call(name, { workspace_id: id, ...args });
    const good = async (name, args) => {
        const answer = await here(name, args);
        assert.ok(!answer.failed, `${name} ${JSON.stringify(args).slice(0, 200)}: ${answer.text}`);
        return answer;
    };
    const shell = async (command) => {
        const answer = await good('run_command', { command });
        assert.equal(answer.structured.exit_code, 0, answer.text);
        return answer.structured.output;
    };
    // A tool that an attack takes the file from would be tried on nothing the next time.
    const plain = () => good('write_file', { path: 'plain.txt', content: 'plain' });
    const harmless = () => {
        assert.equal(snapshot(outside), before, 'the host was changed');
        // A volume's own directory, above what the tools may see.
        const volume = volumeOf(berth().data, id);
        const ours = ['.berth-staging', 'home', 'lost+found', 'workspace'];
        assert.deepEqual(readdirSync(volume).filter((name) => !ours.includes(name)), []);
        assert.ok(statSync(join(volume, 'home')).isDirectory() && statSync(join(volume, 'workspace')).isDirectory());
    };
    /** Every tool with the path; `told` looks at each answer. */
    const everyTool = async (path, told) => {
        for (const [what, tool, args] of uses(path)) {
            await plain();
            const answer = await here(tool, args);
            const about = `${what} of ${JSON.stringify(path).slice(0, 120)}: ${JSON.stringify(answer).slice(0, 500)}`;
            assert.ok(!JSON.stringify(answer).includes(secret), about);
            if (answer.failed) assert.ok(answer.text.length > 10 && answer.text.length < 10_000, about);
            await told(answer, about, what);
        }
        harmless();
    };
    const refused = (because) => (answer, about) => {
        assert.ok(answer.failed, about);
        assert.match(answer.text, because, about);
    };

    test('there is a host to protect', async () => {
        client = new HttpClient(berth());
        outside = join(berth().directory, 'outside');
        mkdirSync(join(outside, 'tree'), { recursive: true });
        for (const name of ['file', 'tree/file', 'tree/other']) writeFileSync(join(outside, name), secret);
        before = snapshot(outside);
        const made = await client.call('workspace_create', {});
        assert.ok(!made.failed, made.text);
        id = made.structured.workspace_id;
    });
    after(() => client?.close());

    test('".." to above the workspace is refused', { timeout: 120_000 }, async () => {
        await shell('mkdir -p a/b');
        const up = '../'.repeat(12);
        for (const path of ['..', '../..', '../home', '../lost+found', 'a/../..', 'a/b/../../../x', '/workspace/..',
            '/workspace/../home/x', '~/..', '/home/agent/../../x', `${up}etc/passwd`, `${up}${outside}/file`,
            `/workspace/${up}${outside}/file`, `~/${up}${outside}/tree`, `../../${id}/fs/workspace/plain.txt`]) {
            await everyTool(path, refused(/outside|does not name a file|"\.\."|not exist|both be below/));
        }
    });

    test('absolute paths mean the sandbox, never the host', { timeout: 120_000 }, async () => {
        for (const path of [`${outside}/file`, `${outside}/tree`, '/proc/1/root/etc/hostname', '/sys/kernel/x', '//etc/passwd',
            '/dev/null', '/berth-guest', '/berth/x', '/workspacex/file', '~root/x']) {
            await everyTool(path, (answer, about, what) => {
                // These two are done by the sandbox's own kernel; the others are for the volume only.
                if (!/^(read_file|write_file)/.test(what) && !path.startsWith('~')) refused(/outside|both be below/)(answer, about);
            });
        }
        writeFileSync(join(berth().directory, 'name'), 'x');
        const users = await good('read_file', { path: '/etc/passwd' });
        const inside = await shell('sha256sum < /etc/passwd');
        assert.equal(users.structured.sha256, inside.split(' ')[0]);
        const written = await here('write_file', { path: `${outside}/new`, content: 'x' });
        assert.ok(written.failed, 'the sandbox has the directory of the host');
    });

    test('links that lead out are not followed', { timeout: 240_000 }, async () => {
        const targets = {
            file: `${outside}/file`, tree: `${outside}/tree`, relative: `${'../'.repeat(12)}${outside.slice(1)}/file`,
            passwd: '/etc/passwd', root: '/', self: '/proc/self/root', cwd: '/proc/self/cwd', descriptor: '/proc/self/fd/3',
            up: '../..', home: '../../home', upper: '../../../..',
        };
        await shell('mkdir -p links moves copies');
        const volume = join(volumeOf(berth().data, id), 'workspace');
        for (const [name, target] of Object.entries(targets)) {
            // As `ln -s` inside makes it; from here, since some tools take it away.
            const link = join(volume, 'links', name);
            const make = () => {
                rmSync(link, { force: true, recursive: true });
                symlinkSync(target, link);
            };
            for (const path of [`links/${name}`, `links/${name}/file`, `links/${name}/etc/passwd`]) {
                for (const [what, tool, args] of uses(path)) {
                    await plain();
                    make();
                    const answer = await here(tool, args);
                    const about = `${what} of ${path}: ${JSON.stringify(answer).slice(0, 500)}`;
                    assert.ok(!JSON.stringify(answer).includes(secret), about);
                    // The link itself may be moved, copied, replaced and deleted like any other name.
                    const ofTheLink = path.split('/').length === 2 &&
                        /^(copy_file from|move_file|delete_file)/.test(what);
                    if (!ofTheLink) {
                        assert.ok(answer.failed, about);
                        assert.match(answer.text, /outside|symbolic link|not exist|already exists|not a directory/, about);
                    }
                }
            }
            harmless();
        }
        await shell('rm -r links; for i in 1 2 3; do ln -s /etc/passwd from-inside-$i; done');
        for (const n of [1, 2, 3]) refused(/outside/)(await here('read_file', { path: `from-inside-${n}` }), 'made inside');
    });

    test('links that lead nowhere or in circles are answered', { timeout: 120_000 }, async () => {
        await shell(`mkdir -p odd; cd odd; ln -s nowhere dangling; ln -s self self; ln -s b a; ln -s a b; ln -s . dot; mkdir -p real
            ln -s real chain0; for i in $(seq 60); do ln -s chain$((i - 1)) chain$i; done`);
        for (const path of ['odd/dangling', 'odd/self', 'odd/a', 'odd/a/x', 'odd/chain60', 'odd/chain60/x', 'odd/dot/dot/dot/x']) {
            await everyTool(path, () => {});
        }
    });

    test('what is no file is neither opened nor waited for', { timeout: 240_000 }, async () => {
        // What the sandbox makes of this kind exists in its own kernel only, which refuses devices altogether.
        await shell(`mkdir -p nofiles inner && cd inner && mkfifo fifo && ! mknod null c 1 3 && ! mknod disk b 8 0 &&
            python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'`);
        const { process_id } = (await good('run_command', {
            command: 'cat inner/fifo & cat > inner/fifo', background: true })).structured;
        for (const name of ['fifo', 'socket']) {
            for (const [what, tool, args] of uses(`inner/${name}`)) {
                await plain();
                const answer = await here(tool, args);
                assert.ok(answer.text.length > 0, what);
            }
        }
        // Should one get onto the volume all the same, it is not touched either.
        const real = join(volumeOf(berth().data, id), 'workspace', 'nofiles');
        execFileSync('mkfifo', [join(real, 'fifo')]);
        execFileSync('mkfifo', [join(real, 'read-fifo')]);
        execFileSync('mknod', [join(real, 'null'), 'c', '1', '3']);
        execFileSync('mknod', [join(real, 'loop'), 'b', '7', '0']);
        const reader = spawn('cat', [join(real, 'read-fifo')], { stdio: ['ignore', 'pipe', 'ignore'] });
        let leaked = '';
        reader.stdout.on('data', (text) => { leaked += text; });
        const names = readdirSync(real);
        for (const name of names) {
            const path = `nofiles/${name}`;
            // All at once, more than the host has threads to hang.
            const opens = uses(path).filter(([what]) => !/search|list|^move|^delete|make_dir/.test(what));
            await plain();
            const answers = await Promise.all([0, 1, 2, 3].flatMap(() => opens.map(async ([what, tool, args]) =>
                [what, await here(tool, args)])));
            for (const [what, answer] of answers) {
                assert.ok(answer.failed, `${what} of ${path}: ${JSON.stringify(answer)}`);
                assert.match(answer.text, /regular file|already exists|denied|not permitted/i, `${what} of ${path}`);
            }
            const found = await good('search_files', { path: 'nofiles', regex: '.' });
            assert.deepEqual(found.structured.matches, []);
        }
        const kinds = (await good('list_directory', { path: 'nofiles' })).structured.entries.map((entry) => entry.kind);
        assert.deepEqual([...new Set(kinds)], ['other']);
        await good('move_file', { path: 'nofiles/fifo', to: 'nofiles/moved' });
        await good('delete_file', { path: 'nofiles/moved' });
        assert.ok((await here('copy_file', { path: 'nofiles', to: 'copied' })).failed);
        const stopped = await client.call('stop_process', { process_id, signal: 'KILL', grace_ms: 0 });
        assert.ok(!stopped.failed, stopped.text);
        reader.kill();
        assert.equal(leaked, '', 'a FIFO was written to');
        await good('delete_file', { path: 'nofiles', recursive: true });
        harmless();
    });

    test('a file with several names changes under one of them only', async () => {
        await shell('mkdir -p hard && cd hard && echo first > one && ln one two');
        await good('write_file', { path: 'hard/one', content: 'second' });
        assert.equal(await shell('cat hard/one hard/two'), 'secondfirst\n');
    });

    test('what is found is named so that the other tools find the same', { timeout: 120_000 }, async () => {
        await shell('mkdir -p found/deep "~" ~/found/deep; for d in . ~; do echo "needle in $d" > $d/found/deep/file; done; echo "needle in ./~" > "~/file"');
        for (const path of ['~', '/home/agent', '~/found', '/home/agent/found/deep/file', 'found', '/workspace/found', './~', '.']) {
            for (const more of [{ regex: 'needle' }, { glob: 'file' }]) {
                const { text, structured: { matches } } = await good('search_files', { path, ...more });
                assert.ok(matches.length >= 1, `${path}: ${JSON.stringify(matches)}`);
                for (const match of matches) {
                    const home = path.startsWith('~') || path.startsWith('/home');
                    const where = home ? /needle in \/home\/agent/ : /needle in \.(\/~)?$/m;
                    assert.match((await good('read_file', { path: match.path })).structured.content, where, `${match.path} of ${path}`);
                    assert.ok(text.includes(match.path), text);
                }
            }
        }
        // Nor do errors and differences name another file.
        const edited = await good('edit_file', { path: '~/found/deep/file', edits: [{ old_string: 'needle', new_string: 'pin' }] });
        assert.match(edited.text, /~\/found\/deep\/file/);
        for (const [tool, more] of [['read_file', {}], ['edit_file', { edits: [{ old_string: 'a', new_string: 'b' }] }], ['list_directory', {}],
            ['search_files', {}], ['delete_file', {}]]) {
            assert.match((await here(tool, { path: '~/none', ...more })).text, /\/home\/agent/, tool);
        }
        await shell('rm -r found "~" ~/found');
    });

    test('names as odd as the file system has them', { timeout: 120_000 }, async () => {
        const longest = 'n'.repeat(255);
        for (const path of ['new\nline', 'tab\tand\rreturn', ' ', '-rf', '"quoted\' $(name)', 'ünïcödé', '💥', '\u202egnp.exe', '*',
            longest, Array.from({ length: 200 }, () => 'd').join('/')]) {
            const content = `content of ${path}`;
            await good('write_file', { path, content });
            const read = await good('read_file', { path });
            assert.equal(read.structured.bytes, Buffer.byteLength(content));
            const [top] = path.split('/');
            const listed = (await good('list_directory', {})).structured.entries.map((entry) => entry.name);
            assert.ok(listed.includes(top), JSON.stringify(listed));
            const found = await good('search_files', { regex: 'content of' });
            assert.ok(found.structured.matches.some((match) => match.path === path), JSON.stringify(path));
            await good('delete_file', { path: top, recursive: true });
        }
        await shell(`mkdir bytes && cd bytes && touch "$(printf 'not-\\377-utf8')" && echo findme > "$(printf 'line\\nbreak')"`);
        assert.equal((await good('list_directory', { path: 'bytes' })).structured.entries.length, 2);
        const found = (await good('search_files', { path: 'bytes', glob: '*' })).structured.matches.map((match) => match.path);
        assert.ok(found.includes('bytes/line\nbreak'), JSON.stringify(found));
        await good('copy_file', { path: 'bytes', to: 'bytes2' });
        await good('delete_file', { path: 'bytes', recursive: true });
        assert.equal((await shell('ls -U bytes2 | wc -l')).trim(), '3');
    });

    test('names that no file system has', { timeout: 120_000 }, async () => {
        for (const path of ['nul\0byte', '/workspace/nul\0', 'n'.repeat(256), `${'n'.repeat(256)}/x`, `x${'/y'.repeat(3000)}`,
            'x'.repeat(100_000)]) {
            await everyTool(path, refused(/NUL|empty|too long|longer|expected|not below|outside/));
        }
        // Bytes that are no UTF-8, and half of a surrogate pair: not JSON to begin with.
        const body = (path) => Buffer.concat([
            Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_file","arguments":{"workspace_id":"${id}","path":"`),
            path,
            Buffer.from('"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}')]);
        for (const path of [Buffer.from([0x61, 0xff]), Buffer.from([0xc0, 0xaf]), Buffer.from('\\ud800')]) {
            const { status, messages } = await client.post(body(path),
                { 'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': 'tools/call', 'Mcp-Name': 'read_file' });
            assert.equal(status, 400);
            assert.equal(messages[0].error.code, -32700);
        }
        harmless();
    });

    test("the volume's own root stays where it is", { timeout: 120_000 }, async () => {
        await shell('mkdir -p keep && echo kept > keep/file && echo kept > ~/kept');
        for (const path of ['.', './', './.', '/workspace', '/workspace/', '/workspace/.', 'keep/..', '~', '~/', '/home/agent']) {
            for (const [what, tool, args] of uses(path)) {
                if (/search|list|make_directory/.test(what)) {
                    const answer = await here(tool, args);
                    assert.ok(!answer.failed || path === 'keep/..', `${what} of ${path}: ${answer.text}`);
                    continue;
                }
                await plain();
                const answer = await here(tool, args);
                assert.ok(answer.failed, `${what} of ${path}: ${JSON.stringify(answer)}`);
            }
            assert.equal(await shell('cat keep/file ~/kept'), 'kept\nkept\n');
        }
        harmless();
    });

    test("a command's directory is one of the sandbox's", { timeout: 120_000 }, async () => {
        await shell(`mkdir -p there; mkfifo pipe; ln -s ${outside}/tree out; ln -s . loop; ln -s circle circle`);
        for (const cwd of [outside, `${outside}/tree`, 'out', `${'../'.repeat(12)}${outside.slice(1)}`, 'pipe', 'circle', 'absent',
            'plain.txt', 'n'.repeat(300), 'nul\0byte']) {
            const answer = await here('run_command', { command: 'pwd; cat file', cwd });
            assert.ok(answer.failed, `${cwd.slice(0, 80)}: ${JSON.stringify(answer)}`);
            assert.match(answer.text, /directory|NUL|expected/, answer.text);
        }
        for (const [cwd, seen] of [['there', '/workspace/there'], ['loop/loop/there', '/workspace/there'], ['..', '/'], ['/', '/'],
            ['', '/workspace'], ['/proc/1/root', '/']]) {
            const answer = await here('run_command', { command: 'pwd -P', cwd });
            if (answer.failed) assert.equal(cwd, '/proc/1/root', answer.text);
            else assert.equal(answer.structured.output.trim(), seen, `cwd ${JSON.stringify(cwd)}`);
        }
        harmless();
    });

    test("a new workspace's files lie in it", { timeout: 240_000 }, async () => {
        const all = async () => (await client.call('workspace_list', { limit: 200 })).structured.workspaces.map((w) => w.workspace_id);
        const there = await all();
        for (const path of ['../x', 'a/../../x', '/etc/x', `${outside}/file`, '/workspace/../x', '/workspacex', '..', '.', '',
            'nul\0byte', 'n'.repeat(256), 'x'.repeat(5000)]) {
            const answer = await client.call('workspace_create', { files: { 'good.txt': 'good', [path]: 'bad' } });
            assert.ok(answer.failed, `${path.slice(0, 80)}: ${JSON.stringify(answer)}`);
            assert.match(answer.text, /files/, answer.text);
        }
        assert.deepEqual(await all(), there, 'a refused one is there all the same');
        const end = Date.now() + 60_000;
        let left;
        while ((left = await unaccounted(berth(), new Set(there))) !== '') {
            assert.ok(Date.now() < end, left);
            await new Promise((done) => setTimeout(done, 50));
        }
        const made = await client.call('workspace_create', { files: { '/workspace/deep/er/file': 'deep', 'a//b/./c': 'plain' } });
        assert.ok(!made.failed, made.text);
        const { workspace_id } = made.structured;
        const ran = await client.call('run_command', { workspace_id, command: 'cat deep/er/file a/b/c' });
        assert.equal(ran.structured.output, 'deepplain');
        await client.call('workspace_delete', { workspace_id });
        harmless();
    });

    test('links and renames that race with the host from inside', { timeout: 240_000 }, async (t) => {
        const program = `
import os, sys, threading
outside = sys.argv[1]
os.makedirs("race/deep/er", exist_ok=True); os.makedirs("race/away", exist_ok=True)
for name in ("race/dir", "race/real"): os.makedirs(name, exist_ok=True)
for name in ("race/real/file", "race/deep/er/file"): open(name, "w").write("inside")
def attempt(step):
    try: step()
    except OSError: pass
def for_ever(*steps):
    def run():
        while True:
            for step in steps: attempt(step)
    threading.Thread(target=run).start()
# A directory that is a link out every other moment; a file likewise; a directory that is moved away under its walker.
for_ever(lambda: os.rename("race/real", "race/x"), lambda: os.symlink(outside + "/tree", "race/real"),
         lambda: os.unlink("race/real"), lambda: os.symlink("../" * 12 + outside[1:], "race/real"),
         lambda: os.unlink("race/real"), lambda: os.rename("race/x", "race/real"))
for_ever(lambda: os.symlink(outside + "/file", "race/l"), lambda: os.rename("race/l", "race/dir/file"),
         lambda: open("race/w", "w").write("inside"), lambda: os.rename("race/w", "race/dir/file"))
for_ever(lambda: os.rename("race/deep/er", "race/away/er"), lambda: os.rename("race/away/er", "er"),
         lambda: os.rename("er", "race/deep/er"))
print("racing", flush=True)
`;
        await good('write_file', { path: 'racer.py', content: program });
        const { process_id } = (await good('run_command', { command: `exec python3 racer.py ${outside}`, background: true })).structured;
        let heard = '';
        while (!heard.includes('racing')) heard = (await client.call('read_process_output', { process_id, wait_ms: 1000 })).text;

        const answers = { done: 0, refused: 0 };
        for (let round = 0; round < 25; round++) {
            for (const path of ['race/real/file', 'race/real', 'race/dir/file', 'race/deep/er/../../../..', 'race/deep/er/../../new',
                'race/real/new/er/file']) {
                await plain();
                // Deleting the stage itself would end the play.
                const calls = uses(path).filter(([what]) => path.includes('/new') || !/^(delete|move)/.test(what) || path === 'race/dir/file');
                await Promise.all(calls.map(async ([what, tool, args]) => {
                    const answer = await here(tool, args);
                    assert.ok(!JSON.stringify(answer).includes(secret), `${what} of ${path}: ${JSON.stringify(answer)}`);
                    if (answer.failed) answers.refused++; else answers.done++;
                }));
            }
            harmless();
        }
        t.diagnostic(`${answers.done} done, ${answers.refused} refused`);
        assert.ok(answers.done > 100 && answers.refused > 100, JSON.stringify(answers));
        const stopped = await client.call('stop_process', { process_id, signal: 'KILL', grace_ms: 0 });
        assert.ok(!stopped.failed, stopped.text);
        // A link may have been copied as a link; what was read through one would be a file with the secret in it.
        const volume = volumeOf(berth().data, id);
        const { stdout } = spawnSync('find', [volume, '-type', 'f', '-exec', 'grep', '-l', secret, '{}', ';'], { encoding: 'utf8' });
        assert.equal(stdout, '');
    });

    test('and the workspace works as before', async () => {
        assert.equal(await shell('echo still here'), 'still here\n');
        await good('workspace_delete', {});
        assert.equal(snapshot(outside), before);
    });
});
