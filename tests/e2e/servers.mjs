// Well-known community servers from npm, all in one servers.json, each in a sandbox of its own: each does the work that it
// can do without network and credentials, and says clearly what it cannot. server-everything has a file of its own.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { v2 } from './lib/clients.mjs';
import { absent, everything, local, settled, state } from './lib/community.mjs';
import { noPostgres, postgres } from './lib/postgres.mjs';
import { suite } from './lib/suite.mjs';

const cannotStart = 'mcp-server-sqlite-npx/dist/index.js';     // its native part is fetched by an install script

function subjects(database) {
    const query = (args) => local('@modelcontextprotocol/server-postgres/dist/index.js', args);
    return {
        everything: everything(),
        filesystem: local('@modelcontextprotocol/server-filesystem/dist/index.js', ['/workspace']),
        memory: local('@modelcontextprotocol/server-memory/dist/index.js', [], { env: { MEMORY_FILE_PATH: '/workspace/memory.jsonl' } }),
        thinking: local('@modelcontextprotocol/server-sequential-thinking/dist/index.js'),
        github: local('@modelcontextprotocol/server-github/dist/index.js'),
        postgres: query(['postgresql://localhost/none']),
        ...(database && { database: database.entry(query(['postgresql://postgres@127.0.0.1/postgres'])) }),
        mongodb: local('mongodb-mcp-server/dist/esm/index.js'),
        context7: local('@upstash/context7-mcp/dist/index.js'),
        pdf: local('@modelcontextprotocol/server-pdf/dist/index.js', ['--stdio']),
        git: local('@cyanheads/git-mcp-server/dist/index.js', [], { cwd: '/workspace' }),
        commands: local('mcp-server-commands/build/index.js'),
        sqlite: local(cannotStart, ['/workspace/x.db'], { restartDelay: 200, maxRestarts: 2 }),
    };
}

if (absent) {
    test('the whole file', { skip: absent }, () => {});
} else {
    const database = noPostgres ? undefined : postgres();
    after(() => database?.remove());
    const all = subjects(database);
    suite((berth) => {
        let client;
        /** A call that must go well, or, with `refusal`, one that must fail with these words. */
        const call = async (name, args = {}, refusal = undefined) => {
            client ??= await v2(berth(), 'http', { pin: '2026-07-28' });
            const answer = await client.call(name, args).catch((error) => ({ failed: true, text: error.message }));
            if (refusal) assert.ok(answer.failed, `${name}: ${answer.text}`);
            else assert.ok(!answer.failed, `${name}: ${answer.text}`);
            if (refusal) assert.match(answer.text, refusal, name);
            return answer;
        };
        after(() => client?.close());
        const status = (server) => berth().tool('server_status', { server });

        test('all of them run, each in gVisor, and the one that cannot says why', { timeout: 200_000 }, async (t) => {
            for (const name of Object.keys(all)) {
                const one = await settled(berth(), name);
                if (name === 'sqlite') {
                    assert.match(one.state, /backing_off|failed/);
                    assert.match(one.reason, /exited with code 1/);
                    assert.ok((await berth().tool('server_logs', { server: name })).lines.some((line) => /sqlite/i.test(line)));
                    continue;
                }
                assert.match(one.state, /ready|degraded/, JSON.stringify(one));
                assert.ok(one.tools > 0, JSON.stringify(one));
                assert.equal(one.isolation, 'sandbox');
                const { where, revision, usage } = await status(name);
                assert.match(where, /^sandbox /);
                t.diagnostic(`${name}: ${one.tools} tools, revision ${revision}, ${usage.memory_mb} MiB`);
            }
            assert.match((await state(berth(), 'postgres')).reason, /resources\/list/, 'a part that fails is named');
            for (const name of ['mongodb', 'context7']) assert.equal((await status(name)).revision, '2026-07-28', name);
            assert.match((await call('commands__run_command', { command: 'dmesg' })).text, /gVisor/);
        });

        test('filesystem: what is inside, and nothing else', async () => {
            await call('filesystem__write_file', { path: '/workspace/a.txt', content: 'kept' });
            const read = await call('filesystem__read_text_file', { path: '/workspace/a.txt' });
            assert.equal(read.structured.content, 'kept');
            await call('filesystem__read_text_file', { path: '/etc/passwd' }, /outside allowed directories/);
        });

        test('memory: its file outlives it', async () => {
            await call('memory__create_entities', { entities: [{ name: 'Ada', entityType: 'person', observations: ['writes'] }] });
            assert.equal((await berth().tool('server_restart', { server: 'memory' })).state, 'ready');
            assert.match((await call('memory__read_graph')).text, /Ada/);
            assert.equal((await berth().tool('search_tools', { query: 'knowledge graph entities' })).tools[0].server, 'memory');
        });

        test('sequential-thinking: it counts on', async () => {
            for (const [thoughtNumber, nextThoughtNeeded] of [[1, true], [2, false]]) {
                const { text } = await call('thinking__sequentialthinking', { thought: 'so', nextThoughtNeeded, thoughtNumber, totalThoughts: 2 });
                assert.equal(JSON.parse(text).thoughtHistoryLength, thoughtNumber);
            }
        });

        test('git: a repository in its own workspace', async () => {
            await call('git__git_init', { path: '/workspace/project' });
            const { text } = await call('git__git_status', { path: '/workspace/project' });
            assert.match(text, /main|master/);
        });

        test('commands: a machine of its own', async () => {
            const { text } = await call('commands__run_command', { command: 'cat a.txt /workspace/memory.jsonl; ls /proc | grep -c "^[0-9]"' });
            assert.doesNotMatch(text, /kept|Ada/, 'files of other servers');
        });

        test('pdf: a view of its own, whose address names the server', async () => {
            await call('pdf__list_pdfs');
            const tool = (await client.tools()).find((one) => one.name === 'pdf__display_pdf');
            const uri = tool._meta.ui.resourceUri;
            assert.equal(uri, 'ui://pdf/pdf-viewer/mcp-app.html');
            const { contents: [view] } = await client.sdk.readResource({ uri });
            assert.equal(view.uri, uri);
            assert.match(view.text, /<html/i);
        });

        test('everything: an answer', async () => {
            assert.match((await call('everything__echo', { message: 'here' })).text, /here/);
        });

        test('what needs network or credentials says so', async () => {
            await call('github__search_repositories', { query: 'mcp' }, /fetch failed|network|ENOTFOUND|EAI_AGAIN/i);
            await call('mongodb__list-databases', { connectionId: 'none' }, /connect/i);
            await call('mongodb__connect', { connectionString: 'mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500' }, /connect/i);
            const { text } = await client.call('context7__resolve-library-id', { query: 'q', libraryName: 'react' });
            assert.match(text, /error|fail|unavailable/i);
            await call('postgres__query', { sql: 'select 1' }, /ECONNREFUSED|server postgres failed and did not say why/);
            await call('sqlite__read_query', { query: 'select 1' }, /Unknown tool|not found/i);
        });

        test('postgres: rows of a real database', { skip: noPostgres || false }, async () => {
            const { text } = await call('database__query', { sql: 'select title from books where year < 1900' });
            assert.deepEqual(JSON.parse(text), [{ title: 'Notes' }]);
            await call('database__query', { sql: 'insert into books values (1)' }, /read-only|transaction/i);
            const { resources } = await client.sdk.listResources();
            const table = resources.find((one) => /books\/schema$/.test(one.uri));
            const { contents: [schema] } = await client.sdk.readResource({ uri: table.uri });
            assert.ok(JSON.parse(schema.text).some((column) => column.column_name === 'title'), schema.text);
        });
    }, '', all);
}
