// The TypeScript SDK's v1 line over both transports.
import { v1 } from './lib/clients.mjs';
import { mainJob } from './lib/main_job.mjs';
import { suite } from './lib/suite.mjs';

suite((berth) => {
    mainJob('SDK v1 over stdio', berth, (it) => v1(it, 'stdio'), 'legacy');
    mainJob('SDK v1 over HTTP', berth, (it) => v1(it, 'http'), 'legacy');
});
