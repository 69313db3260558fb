// A notebook through a preview in Chromium: Debian's Jupyter runs in a workspace, and a person opens the link, runs cells and sees
// what they print, which needs the WebSocket to the kernel. Then the workspace sleeps, a visit wakes it, and the kernel still knows.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { browsing } from './lib/browsing.mjs';

const jupyter = resolve(dirname(process.env.BERTH_NODE_TOOLS ?? 'build/node'), 'templates', 'notebook');

const cell = (id, source) => ({ cell_type: 'code', id, metadata: {}, execution_count: null, outputs: [], source });
const files = {
    'sums.ipynb': JSON.stringify({
        cells: [cell('first', 'answer = 6 * 7\nprint("first:", answer)'), cell('second', 'print("second:", answer + 1)')],
        metadata: { kernelspec: { display_name: 'Python 3', language: 'python', name: 'python3' } }, nbformat: 4, nbformat_minor: 5,
    }),
};
// The preview's link is the lock, so that Jupyter's own token would be a second one; and it refuses names that are not localhost itself.
// Kernels are reached by Unix sockets: docs/hibernation.md says what becomes of ZeroMQ over TCP.
const commands = ["jupyter-notebook --no-browser --allow-root --port=8888 --NotebookApp.token='' --NotebookApp.allow_remote_access=True " +
    '--NotebookApp.enable_mathjax=False --KernelManager.transport=ipc'];

if (!existsSync(join(jupyter, 'stamp'))) {
    test('the whole file', { skip: `${jupyter} is missing (scripts/setup-suites)` }, () => {});
} else {
    // The suites' own template beside the machine's base.
    const templates = mkdtempSync(join(tmpdir(), 'berth-e2e-templates-'));
    symlinkSync('/var/lib/berth/templates/base', join(templates, 'base'));
    symlinkSync(jupyter, join(templates, 'notebook'));
    after(() => rmSync(templates, { recursive: true }));

    browsing(files, commands, (with_) => {
        const { call, link, visitor } = with_;

        /** A page on the notebook, once its kernel answers. */
        const open = async (context, url) => {
            const page = await context.newPage();
            const said = [];
            page.on('console', (line) => said.push(line.text()));
            page.on('response', (answer) => { if (answer.status() >= 400) said.push(`${answer.url()}: ${answer.status()}`); });
            await page.goto(url);
            await page.waitForFunction(() => globalThis.Jupyter?.notebook?.kernel?.is_connected() &&
                document.querySelectorAll('.code_cell').length === 2, undefined, { timeout: 60_000 })
                .catch((error) => { throw new Error(`no notebook with a kernel:\n${said.join('\n')}\n${error.message}`); });
            return page;
        };
        /** Runs a cell as a person does, and gives what it prints. */
        const run = async (page, number) => {
            const where = `.code_cell >> nth=${number}`;
            await page.click(`${where} >> .CodeMirror`);
            await page.keyboard.press('Control+Enter');
            await page.waitForSelector(`${where} >> .output_text`, { timeout: 60_000 });
            return (await page.textContent(`${where} >> .output_text`)).trim();
        };

        test('a cell prints; after a sleep and a waking visit the next one has the variable of the first', { timeout: 200_000 }, async () => {
            const made = await link(8888);
            const { origin } = new URL(made.url);
            const first = await visitor();
            const context = first.context();
            await first.goto(made.url);
            await first.waitForSelector('a[href$="/notebooks/sums.ipynb"]', { timeout: 60_000 });     // its list of files
            const url = `${origin}/notebooks/sums.ipynb`;
            const before = await open(context, url);
            assert.equal(await run(before, 0), 'first: 42');
            for (const page of [first, before]) await page.close();      // an open one would wake it by itself

            const { workspace_id } = with_;
            await call('workspace_hibernate', { workspace_id });
            assert.equal((await call('workspace_get', { workspace_id })).state, 'hibernated');
            const again = await open(context, url);
            assert.equal((await call('workspace_get', { workspace_id })).state, 'running');
            assert.equal(await run(again, 1), 'second: 43');
            await context.close();
        });
    }, { config: `templates_dir: ${templates}\n`, template: 'notebook' });
}
