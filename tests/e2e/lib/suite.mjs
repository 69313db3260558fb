// One server for all tests of a file.
import { after, before, test } from 'node:test';
import { Berth, missing } from './berth.mjs';

/** `register` gets a function that gives the running server (once tests run). `config`: more of its berth.yaml. */
export function suite(register, config = '') {
    const why = missing();
    if (why) {
        test('the whole file', { skip: why }, () => {});
        return;
    }
    let berth;
    before(async () => { berth = await Berth.start(config); });
    after(async () => { await berth?.stop(); });
    register(() => berth);
}
