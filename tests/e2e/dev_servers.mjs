// Development servers in a workspace, looked at through their previews in Chromium: an edit through a tool shows on the open page,
// without loading it anew where the framework can do so. React, socket.io and the links themselves are browser.mjs's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { browsing } from './lib/browsing.mjs';

const icon = '<link rel="icon" href="data:,">';
const files = {
    'vue/index.html': `<!doctype html><title>Vue</title>${icon}<div id="app"></div><script type="module" src="/main.js"></script>`,
    'vue/main.js': "import { createApp } from 'vue';\nimport App from './App.vue';\ncreateApp(App).mount('#app');\n",
    'vue/App.vue': "<script setup>\nimport { ref } from 'vue';\nconst count = ref(0);\n</script>\n" +
        '<template><h1>Hello one</h1><button @click="count++">count {{ count }}</button></template>\n<style scoped>h1 { color: rgb(1, 2, 3); }</style>\n',
    'vue/vite.config.mjs': "import vue from '@vitejs/plugin-vue';\nexport default { plugins: [vue()] };\n",
    'svelte/index.html': `<!doctype html><title>Svelte</title>${icon}<div id="app"></div><script type="module" src="/main.js"></script>`,
    'svelte/main.js': "import { mount } from 'svelte';\nimport App from './App.svelte';\nmount(App, { target: document.getElementById('app') });\n",
    'svelte/App.svelte': '<script>\n    let count = $state(0);\n</script>\n<h1>Hello one</h1>\n<button onclick={() => count++}>count {count}</button>\n',
    'svelte/vite.config.mjs': "import { svelte } from '@sveltejs/vite-plugin-svelte';\nexport default { plugins: [svelte()] };\n",
    'packed/public/index.html': `<!doctype html><title>webpack</title>${icon}<h1></h1><script src="/main.js"></script>`,
    'packed/src/index.js': "import { greeting } from './greeting.js';\nlet times = 0;\n" +
        "const show = (text) => { document.querySelector('h1').textContent = `${text}, shown ${++times} times`; };\nshow(greeting);\n" +
        "if (module.hot) module.hot.accept('./greeting.js', () => show(greeting));\n",
    'packed/src/greeting.js': "export const greeting = 'Hello one';\n",
    'packed/serve.cjs': `
const path = require('node:path');
const webpack = require('webpack');
const Server = require('webpack-dev-server');
const compiler = webpack({ mode: 'development', context: __dirname, entry: './src/index.js', output: { path: path.join(__dirname, 'dist') } });
// Without webSocketURL its pages would dial the port that it listens on instead of the one that they came from.
new Server({ port: 8080, static: path.join(__dirname, 'public'), hot: true, client: { webSocketURL: 'auto://0.0.0.0:0/ws' } }, compiler).start();
`,
    'next/package.json': '{ "name": "shop", "private": true }\n',
    'next/next.config.mjs': 'export default { devIndicators: false };\n',
    'next/app/layout.jsx': 'export const metadata = { title: "Next", icons: { icon: "data:," } };\nexport default function Layout({ children }) { return <html lang="en"><body>{children}</body></html>; }\n',
    'next/app/page.jsx': "'use client';\nimport { useState } from 'react';\nexport default function Page() {\n    const [count, setCount] = useState(0);\n" +
        '    return <main><h1>Hello one</h1><button onClick={() => setCount(count + 1)}>count {count}</button></main>;\n}\n',
    'next/app/api/route.js': "export function GET() { return Response.json({ said: 'hello' }); }\n",
};
const vite = (root, port) => `node node_modules/vite/bin/vite.js ${root} --port ${port} --strictPort`;
const commands = [
    vite('vue', 5174), vite('svelte', 5175), 'node packed/serve.cjs',
    'cd next && NEXT_TELEMETRY_DISABLED=1 node ../node_modules/next/dist/bin/next dev --port 3000',
];

browsing(files, commands, (with_) => {
    const { edit, link, shows, visitor } = with_;
    const limit = { timeout: 200_000 };

    /** Opens the port's page, has `path` edited while it is open, and checks that the page shows it and is still the same page. */
    const hot = async (port, path, use = async () => {}) => {
        const made = await link(port);
        const page = await visitor();
        await page.goto(made.url);
        await shows(page, 'h1', 'Hello one');
        await page.evaluate(() => { window.stayed = true; });
        await use(page);
        await edit(path, 'Hello one', 'Hello two');
        await shows(page, 'h1', 'Hello two');
        assert.equal(await page.evaluate(() => window.stayed), true);
        return page;
    };
    const leave = async (page) => {
        await page.reload();
        await shows(page, 'h1', 'Hello two');
        assert.deepEqual(page.said.filter((line) => line.startsWith('error')), []);
        await page.context().close();
    };
    const count = async (page) => {
        // A page that was rendered by the server takes clicks only once its scripts run.
        for (let tries = 0; !/count [1-9]/.test(await page.textContent('button')); tries++) {
            assert.ok(tries < 100, 'the button does nothing');
            await page.click('button');
            await page.waitForTimeout(100);
        }
        return page.textContent('button');
    };

    test('Vite and Vue: the template changes, the state stays', limit, async () => {
        let counted;
        const page = await hot(5174, 'vue/App.vue', async (p) => { counted = await count(p); });
        assert.equal(await page.textContent('button'), counted);
        await edit('vue/App.vue', 'rgb(1, 2, 3)', 'rgb(4, 5, 6)');        // a style alone
        await page.waitForFunction(() => getComputedStyle(document.querySelector('h1')).color === 'rgb(4, 5, 6)', undefined, { timeout: 60_000 });
        assert.equal(await page.textContent('button'), counted);
        await leave(page);
    });

    test('Vite and Svelte: the component changes on the open page', limit, async () => {
        const page = await hot(5175, 'svelte/App.svelte', count);        // Svelte mounts it anew, with a state of its own
        await leave(page);
    });

    test('webpack-dev-server: a module that accepts its changes', limit, async () => {
        const page = await hot(8080, 'packed/src/greeting.js');
        assert.match(await page.textContent('h1'), /shown 2 times/);
        await leave(page);
    });

    test('Next: server rendering, a route of its own, fast refresh', limit, async () => {
        let counted;
        const page = await hot(3000, 'next/app/page.jsx', async (p) => { counted = await count(p); });
        assert.equal(await page.textContent('button'), counted);
        assert.deepEqual(await page.evaluate(() => fetch('/api').then((r) => r.json())), { said: 'hello' });
        await leave(page);
    });
});
