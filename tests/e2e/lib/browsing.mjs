// Debian's Chromium, driven by Playwright, and a workspace with the packages of tests/e2e/browser: what the browser suites share.
// scripts/setup-suites brings both.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { v2 } from './clients.mjs';
import { volumeOf } from './remains.mjs';
import { suite } from './suite.mjs';

export const packages = join(dirname(process.env.BERTH_NODE_TOOLS ?? 'build/node'), 'browser');
const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/snap/bin/chromium'].find(existsSync);

function why() {
    if (!chromium) return 'Chromium is missing (scripts/setup-suites)';
    return existsSync(join(packages, 'node_modules', 'playwright-core')) ? '' : `${packages} is missing (scripts/setup-suites)`;
}

/**
 * One server, one browser and one workspace with `files` for all tests of a file; `commands` run in its background. Without a
 * `template` of its own (which `config` makes known) it has the packages of tests/e2e/browser, too. `browser`: arguments of the
 * browser. `register` gets what they use, filled once the tests run: `call(tool, arguments)`, `link(port)`, `visitor()`,
 * `shows(page, selector, text)`, `edit(path, from, to)`, `workspace_id`.
 */
export function browsing(files, commands, register, { config, template, browser: more = [] } = {}) {
    suite((berth) => {
        if (why()) {
            test('the whole file', { skip: why() }, () => {});
            return;
        }
        const with_ = {};
        let browser;
        const call = async (name, args) => {
            const answer = await with_.client.call(name, args);
            assert.ok(!answer.failed, `${name}: ${answer.text}`);
            return answer.structured;
        };
        before(async () => {
            const { chromium: driver } = createRequire(join(packages, 'package.json'))('playwright-core');
            // Root cannot use Chromium's own sandbox. What it opens here is the tests' own.
            browser = await driver.launch({ executablePath: chromium, args: [...more, ...(process.getuid() === 0 ? ['--no-sandbox'] : [])] });
            const all = Object.create(berth(), { url: { value: `${berth().url}?toolsets=core,files,preview,lifecycle` } });
            with_.client = await v2(all, 'http', { pin: '2026-07-28' });
            const { workspace_id } = await call('workspace_create', { files, ...(template && { template }) });
            // As an upload they would take longer than all tests together.
            if (!template) execFileSync('cp', ['-a', join(packages, 'node_modules'), join(volumeOf(berth().data, workspace_id), 'workspace')]);
            for (const command of commands) await call('run_command', { workspace_id, command, background: true });
            with_.workspace_id = workspace_id;
        });
        after(async () => { await browser?.close(); });

        register(Object.assign(with_, {
            berth, call,
            link: async (port, more = {}) => {
                const made = await call('get_preview_url', { workspace_id: with_.workspace_id, port, wait_ready_ms: 45_000, ...more });
                assert.equal(made.ready, true, made.hint);
                return made;
            },
            edit: (path, old_string, new_string) =>
                call('edit_file', { workspace_id: with_.workspace_id, path, edits: [{ old_string, new_string }] }),
            /** A page in a browser profile of its own, with what its console said. */
            visitor: async () => {
                const context = await browser.newContext({ viewport: { width: 640, height: 300 } });
                const page = await context.newPage();
                page.said = [];
                page.on('console', (line) => page.said.push(`${line.type()}: ${line.text()}`));
                page.on('pageerror', (error) => page.said.push(`error: ${error.message}`));
                return page;
            },
            shows: (page, selector, text) => page.waitForFunction(
                ([where, what]) => document.querySelector(where)?.textContent.includes(what), [selector, text], { timeout: 60_000 })
                .catch((error) => { throw new Error(`${selector} never showed "${text}":\n${page.said.join('\n')}\n${error.message}`); }),
        }));
    }, config);
}
