// A client that goes away: what it asked for stops, and nothing of it is left behind.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { binary } from './lib/berth.mjs';
import { suite } from './lib/suite.mjs';

const run = promisify(execFile);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

suite((berth) => {
    const tool = async (name, args) =>
        JSON.parse((await run(binary, ['tool', name, JSON.stringify(args), '--data', berth().data])).stdout);

    /** Calls a tool over HTTP and hangs up after `ms`; true when the answer came first. */
    const hangUp = (name, args, ms) => {
        const left = new AbortController();
        setTimeout(() => left.abort(), ms);
        return fetch(berth().url, {
            method: 'POST', signal: left.signal,
            headers: {
                Authorization: `Bearer ${berth().token}`, 'Content-Type': 'application/json',
                Accept: 'application/json, text/event-stream', 'MCP-Protocol-Version': '2026-07-28',
                'Mcp-Method': 'tools/call', 'Mcp-Name': name,
            },
            body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: {
                name, arguments: args, _meta: {
                    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
                    'io.modelcontextprotocol/clientCapabilities': {},
                } } }),
        }).then((answer) => answer.text()).then(() => true, () => false);
    };

    /** Waits for what a disconnect sets going; a minute is the most that anything may take. */
    const until = async (what, look) => {
        const end = Date.now() + 60_000;
        let seen;
        do {
            seen = await look();
            if (seen === true) return;
            await pause(100);
        } while (Date.now() < end);
        assert.fail(`${what}: ${JSON.stringify(seen)}`);
    };

    test('hanging up on a command ends it inside the sandbox', { timeout: 120_000 }, async () => {
        const { workspace_id } = await tool('workspace_create', {});
        for (const ms of [5, 30, 150, 700]) {
            await hangUp('run_command', { workspace_id, command: `echo $$; sleep 86${ms}; true` }, ms);
        }
        await until('a sleep goes on', async () => {
            const { output } = await tool('run_command', { workspace_id, command: 'pgrep -fc "^sleep 86" || true' });
            return output.trim() === '0' ? true : output;
        });
        await tool('workspace_delete', { workspace_id });
    });

    test('a clone that takes forever ends when its client hangs up, and holds no other up', { timeout: 120_000 }, async () => {
        const slow = { name: 'slow', git_url: 'ext::sleep 8000', env: { GIT_ALLOW_PROTOCOL: 'ext' } };
        const call = hangUp('workspace_create', slow, 4_000);
        await until('the clone does not begin', async () =>
            (await tool('workspace_list', {})).workspaces.some((w) => w.name === 'slow'));
        const other = await tool('workspace_create', { name: 'other' });
        assert.equal(await call, false, 'the clone ended by itself');
        await until('it is still there', async () =>
            !(await tool('workspace_list', {})).workspaces.some((w) => w.name === 'slow'));
        const again = await tool('workspace_create', { name: 'slow' });
        assert.equal(again.existed, false);
        for (const { workspace_id } of [other, again]) await tool('workspace_delete', { workspace_id });
    });

    test('hanging up on workspace_create leaves a whole workspace or none', { timeout: 120_000 }, async () => {
        // Around the few milliseconds that a claim takes, and the hundreds that a cold start takes. One that was done
        // before the server could see the hang-up stays: name and idempotency_key are how its client finds it again.
        const waits = [0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 25, 50, 100, 200];
        for (const ms of waits) await hangUp('workspace_create', { files: { 'a.txt': 'whole' } }, ms);
        await until('a workspace stays half made', async () => {
            const { workspaces } = await tool('workspace_list', {});
            const states = workspaces.map((w) => w.state);
            return states.every((state) => state === 'running' || state === 'frozen') ? true : states;
        });
        const { workspaces } = await tool('workspace_list', {});
        assert.ok(workspaces.length < waits.length, 'no hang-up was noticed at all');
        for (const { workspace_id } of workspaces) {
            const { output } = await tool('run_command', { workspace_id, command: 'cat a.txt' });
            assert.equal(output, 'whole');
            await tool('workspace_delete', { workspace_id });
        }
        // Only the stock is left: two, and one that was made for a restore, of each runtime.
        const stock = process.env.BERTH_RUNTIME === 'native' ? 4 : 3;
        await until('sandboxes of no workspace are left', async () => {
            const metrics = await fetch(berth().url.replace('/mcp', '/metrics'),
                { headers: { Authorization: `Bearer ${berth().token}` } }).then((answer) => answer.text());
            const count = (name) => Number(metrics.match(new RegExp(`^${name} (\\d+)$`, 'm'))[1]);
            return count('berth_workspaces') === 0 && count('berth_sandboxes') <= stock ? true : metrics;
        });
    });
});
