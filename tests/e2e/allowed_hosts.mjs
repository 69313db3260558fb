// What an allow-list is for: curl, git, pip and npm reach the hosts that stand in it, with nothing set up inside, over HTTP and
// HTTPS; every other host is refused, and whoever reads the program's complaint learns why. The hosts are this test's own.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Berth, missing } from './lib/berth.mjs';
import { packagesFrom } from './lib/packages.mjs';

const skip = missing() || false;
const config = 'network:\n    insecure_private_addresses: [127.0.0.0/8]\n';

test('curl, git, pip and npm through the allow-list', { skip, timeout: 280_000 }, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-packages-'));
    const there = await packagesFrom(join(directory, 'packages'));
    const hosts = join(directory, 'hosts');
    writeFileSync(hosts, there.hosts);
    const berth = await Berth.start(config, undefined, { over: { '/etc/hosts': hosts } });
    t.after(async () => {
        await berth.stop();
        there.close();
        rmSync(directory, { recursive: true });
    });
    const [plain, secure] = [`http://packages.test:${there.http}`, `https://packages.test:${there.https}`];
    const [barred, barredToo] = [`http://elsewhere.test:${there.http}`, `https://elsewhere.test:${there.https}`];
    const allow = [`packages.test:${there.http}`, `packages.test:${there.https}`];
    // The certificates of a public host are known inside. Those of this test's authority are not: that is what these are for, and all.
    const trust = Object.fromEntries(['CURL_CA_BUNDLE', 'GIT_SSL_CAINFO', 'PIP_CERT', 'npm_config_cafile', 'SSL_CERT_FILE']
        .map((name) => [name, '/workspace/authority.pem']));
    const { workspace_id } = await berth.tool('workspace_create', { network: { allow }, env: trust, files: { 'authority.pem': there.authority } });
    const run = async (command) => berth.tool('run_command', { workspace_id, command, timeout_ms: 60_000 });
    const good = async (command) => {
        const done = await run(command);
        assert.equal(done.exit_code, 0, `${command}: ${done.output}`);
        return done.output;
    };
    const bad = async (command) => {
        const done = await run(command);
        assert.notEqual(done.exit_code, 0, `${command}: ${done.output}`);
        return done.output;
    };

    await t.test('curl', async () => {
        assert.equal(await good(`curl -sS ${plain}/page`), 'from the page\n');
        assert.equal(await good(`curl -sS ${secure}/page`), 'from the page\n');
    });
    await t.test("Python's own client", async () => {
        for (const from of [plain, secure]) {
            assert.equal(await good(`python3 -c 'import urllib.request as u; print(u.urlopen("${from}/page").read().decode(), end="")'`), 'from the page\n');
        }
    });
    await t.test('git clones, and fetches what came later', async () => {
        for (const [i, from] of [plain, secure].entries()) {
            await good(`git clone -q ${from}/thing.git clone${i} && cat clone${i}/README`);
            there.commit(`later${i}`, `later ${i}\n`);
            assert.equal(await good(`cd clone${i} && git pull -q && cat later${i}`), `later ${i}\n`);
        }
    });
    await t.test('pip installs from an index', async () => {
        await good(`pip install --disable-pip-version-check --root-user-action=ignore -q --index-url ${secure}/simple/ --target pip greeting`);
        assert.equal(await good('PYTHONPATH=pip python3 -c "import greeting; print(greeting.text)"'), 'from the index\n');
    });
    await t.test('npm installs from a registry', async () => {
        for (const [i, from] of [plain, secure].entries()) {
            await good(`mkdir -p npm${i} && cd npm${i} && npm install --no-audit --no-fund --no-update-notifier --silent --registry ${from}/ greeting`);
            assert.equal(await good(`cd npm${i} && node -p 'require("greeting")'`), 'from the registry\n');
        }
    });
    await t.test('a workspace begins as a clone of git_url', async () => {
        const made = await berth.tool('workspace_create', { git_url: `${plain}/thing.git`, network: { allow } });
        const seen = await berth.tool('run_command', { workspace_id: made.workspace_id, command: 'cat README; git log --oneline | wc -l' });
        assert.equal(seen.output, 'from the repository\n1\n');
        await berth.tool('workspace_delete', { workspace_id: made.workspace_id });
    });

    await t.test('a host that is not in the list is refused, and the program says so', async () => {
        const asked = there.seen.length;
        const sentence = new RegExp(`elsewhere\\.test:${there.http} is not in this workspace's allow-list \\(allowed: packages\\.test:${there.http}, ` +
            `packages\\.test:${there.https}\\)\\. Ask for it in network\\.allow of workspace_create\\.`);
        assert.match(await good(`curl -sS ${barred}/page`), sentence);
        assert.match(await bad(`curl -sS ${barredToo}/page`), /403/);
        assert.match(await bad(`git clone -q ${barred}/thing.git x`), /elsewhere\.test.*403/s);
        assert.match(await bad(`git clone -q ${barredToo}/thing.git x`), /elsewhere\.test.*403/s);
        assert.match(await bad(`pip install --disable-pip-version-check --retries 1 --index-url ${barredToo}/simple/ --target x greeting`),
            /elsewhere\.test.*403 Host not in the allow-list/s);
        assert.match(await bad(`mkdir x; cd x; npm install --no-audit --no-fund --no-update-notifier --fetch-retries 0 --registry ${barred}/ greeting`), /403/);
        assert.match(await bad(`python3 -c 'import urllib.request as u; u.urlopen("${barredToo}/page")'`), /403 Host not in the allow-list/);
        // Of a port that is not in it, and of an address in numbers, likewise.
        assert.match(await good(`curl -sS http://packages.test:${there.http + 1}/page`), /packages\.test:\d+ is not in this workspace's allow-list/);
        assert.match(await good(`curl -sS http://127.0.0.9:${there.http}/page`), /127\.0\.0\.9:\d+ is not in this workspace's allow-list/);
        const refused = await berth.tool('workspace_create', { git_url: `${barred}/thing.git`, network: { allow } })
            .then((made) => assert.fail(JSON.stringify(made)), ({ message }) => message);
        assert.match(refused, /git_url: git clone ended with 128: .*403.*is its host in network\.allow\?/s);
        assert.equal(there.seen.length, asked, 'a refused host was asked all the same');
    });
    await t.test('without a list there is no network at all', async () => {
        const { workspace_id: alone } = await berth.tool('workspace_create', {});
        const { output, exit_code } = await berth.tool('run_command', { workspace_id: alone, command: `curl -sS --max-time 10 ${plain}/page 2>&1` });
        assert.doesNotMatch(output, /from the page/);
        assert.notEqual(exit_code, 0);
        await berth.tool('workspace_delete', { workspace_id: alone });
    });
    await t.test('an allowed name that leads to a private address needs the operator', async () => {
        const strict = await Berth.start('', undefined, { over: { '/etc/hosts': hosts } });
        try {
            const { workspace_id: id } = await strict.tool('workspace_create', { network: { allow } });
            const { output } = await strict.tool('run_command', { workspace_id: id, command: `curl -sS ${plain}/page` });
            assert.match(output, /packages\.test.*(private|loopback)/s);
        } finally {
            await strict.stop();
        }
    });
});
