// A tab that is left open does not keep a workspace from hibernating where the operator says so (previews.keep_awake), and what it
// dials again in the night wakes nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Sleeper, until } from './lib/sleeper.mjs';
import { suite } from './lib/suite.mjs';
import { app, ask, origin, token, websocket } from './lib/visitor.mjs';

suite((berth) => {
    test('a workspace with an open WebSocket hibernates, and wakes for a request', { timeout: 180_000 }, async () => {
        const w = await Sleeper.create(berth(), { files: { 'app.cjs': app }, idle: { hibernate_after: '3s' } });
        await w.must('run_command', { command: 'node app.cjs', background: true });
        const made = await w.must('get_preview_url', { port: 3000, wait_ready_ms: 30_000 });
        const socket = await websocket(made.url, berth().port, token(made));
        assert.match(await socket.say('hello'), /^echo hello/);
        await until('it hibernates', async () => await w.state() === 'hibernated');
        await socket.ended;
        assert.equal((await websocket(made.url, berth().port, token(made))).status, 503);
        assert.equal(await w.state(), 'hibernated');
        assert.equal((await ask(`${origin(made)}/x`, berth().port, { headers: token(made) })).status, 200);
        const again = await websocket(made.url, berth().port, token(made));
        assert.match(await again.say('back'), /^echo back/);
        again.socket.destroy();
        await w.must('workspace_delete');
        w.close();
    });
}, 'toolsets: [core, files, lifecycle]\npreviews:\n    keep_awake: requests\n');
