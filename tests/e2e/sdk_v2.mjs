// The TypeScript SDK's v2 line: both eras over both transports, and its own choice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { v2 } from './lib/clients.mjs';
import { mainJob } from './lib/main_job.mjs';
import { suite } from './lib/suite.mjs';

const modern = { pin: '2026-07-28' };

suite((berth) => {
    for (const transport of ['stdio', 'http']) {
        mainJob(`SDK v2, 2026-07-28, over ${transport}`, berth, (it) => v2(it, transport, modern), 'modern');
        mainJob(`SDK v2, 2025 revisions, over ${transport}`, berth, (it) => v2(it, transport, 'legacy'), 'legacy');
        test(`SDK v2 left to choose takes the newer era over ${transport}`, { timeout: 60_000 }, async () => {
            const client = await v2(berth(), transport, 'auto');
            try {
                assert.equal(client.era, 'modern');
                assert.ok((await client.tools()).length > 0);
            } finally {
                await client.close();
            }
        });
    }
});
