// Community servers from npm as entries of servers.json, and what the suites about them share.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { binary } from './berth.mjs';
import { v1, v2 } from './clients.mjs';

export const tools = resolve(process.env.BERTH_NODE_TOOLS ?? 'build/node');
const packages = `${tools}/node_modules`;
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Why the servers cannot be started, or ''. */
export const absent = existsSync(`${packages}/mongodb-mcp-server`) ? '' : 'the servers are not installed (scripts/setup --suites)';

/** A server of an npm package: its file below node_modules, run by the suites' own Node. */
export const local = (path, args = [], more = {}) => ({
    command: `${tools}/bin/node`, args: [`${packages}/${path}`, ...args], ...more,
    sandbox: { ...more.sandbox, filesystem: { ...more.sandbox?.filesystem, allowRead: [tools, ...more.sandbox?.filesystem?.allowRead ?? []] } },
});

export const everything = (more = {}) => local('@modelcontextprotocol/server-everything/dist/index.js', [], more);

/** Asks again until it is true; a minute is the most that anything may take. */
export async function until(what, check) {
    let found;
    for (const end = Date.now() + 60_000; Date.now() < end;) {
        found = await check();
        if (found) return found;
        await pause(50);
    }
    throw new Error(`${what}: not in a minute`);
}

/** The state of one server as servers_list has it, or undefined. */
export const state = async (berth, name) => (await berth.tool('servers_list')).servers.find((one) => one.server === name);

/** Waits until a server has come to the end of its start, one way or the other. */
export const settled = (berth, name) => until(`${name} has started`, async () => {
    const now = await state(berth, name);
    return ['ready', 'degraded', 'backing_off', 'failed', 'misconfigured'].includes(now?.state) && now;
});

/** Keeps what arrives, and waits for what is still to come. */
export class Mailbox {
    seen = [];

    put(message) { this.seen.push(message); }

    wait(what, wanted = () => true) {
        return until(`${what} (heard: ${JSON.stringify(this.seen).slice(0, 500)})`,
            () => this.seen.find(wanted)).catch(() => {
            throw new Error(`never heard of ${what}, only: ${JSON.stringify(this.seen).slice(0, 2000)}`);
        });
    }
}

const capabilities = { sampling: {}, elicitation: { form: {}, url: {} }, roots: { listChanged: true } };

/** A client that can be asked. `answers` is by method, each a function of the request's params. */
export async function askable(berth, transport, era, answers) {
    const methods = ['sampling/createMessage', 'elicitation/create', 'roots/list'];
    const answer = (method) => ({ params }) => answers[method](params ?? {});
    // Over stdio it joins the server that runs.
    const it = { url: berth.url, token: berth.token, stdio: [binary, 'stdio', '--data', berth.data] };
    if (era === 'modern') {
        const client = await v2(it, transport, { pin: '2026-07-28' }, { capabilities });
        for (const method of methods) client.sdk.setRequestHandler(method, answer(method));
        return client;
    }
    const client = await v1(it, transport, { capabilities });
    const schemas = createRequire(`${tools}/package.json`)('@modelcontextprotocol/sdk/types.js');
    const of = { 'sampling/createMessage': schemas.CreateMessageRequestSchema,
        'elicitation/create': schemas.ElicitRequestSchema, 'roots/list': schemas.ListRootsRequestSchema };
    for (const method of methods) client.sdk.setRequestHandler(of[method], answer(method));
    return client;
}
