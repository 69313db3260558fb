// One server for all tests of a file.
import { after, before, test } from 'node:test';
import { Berth, missing } from './berth.mjs';

/** `register` gets a function that gives the running server (once tests run). `config`: more of its berth.yaml; `servers`: its servers.json. */
export function suite(register, config = '', servers = undefined) {
    const why = missing();
    if (why) {
        test('the whole file', { skip: why }, () => {});
        return;
    }
    let berth;
    before(async () => { berth = await Berth.start(config, servers); });
    after(async () => { await berth?.stop(); });
    register(() => berth);
}
