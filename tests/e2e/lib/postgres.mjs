// A real PostgreSQL inside a community server's sandbox: Debian's programs, shown to it read-only, over a cluster that was
// made here.
import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';

const nobody = 65534;           // PostgreSQL refuses to run as root
const demoted = ['--reuid', `${nobody}`, '--regid', `${nobody}`, '--clear-groups'];
const releases = '/usr/lib/postgresql';
const release = (existsSync(releases) ? readdirSync(releases) : []).sort((a, b) => Number(b) - Number(a))
    .find((one) => existsSync(`${releases}/${one}/bin/postgres`));

/** Why there is none, or ''. */
export const noPostgres = release ? '' : 'PostgreSQL is not installed (apt install postgresql)';

/** { entry(server), remove() }: a database with one table, and an entry that starts it before the server of another one. */
export function postgres() {
    const directory = mkdtempSync('/var/tmp/berth-postgres-');
    const cluster = `${directory}/cluster`, bin = `${releases}/${release}/bin`;
    const run = (program, args, input = '') =>
        execFileSync('setpriv', [...demoted, `${bin}/${program}`, ...args], { input, cwd: '/', stdio: ['pipe', 'ignore', 'pipe'] });
    mkdirSync(cluster, { mode: 0o700 });
    chownSync(directory, nobody, nobody);
    chownSync(cluster, nobody, nobody);
    run('initdb', ['-D', cluster, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale', 'C', '--no-sync']);
    run('postgres', ['--single', '-F', '-D', cluster, 'postgres'],
        "create table books (title text, year int); insert into books values ('Notes', 1843), ('Computing', 1950);\n");
    const start = `setpriv ${demoted.join(' ')} ${bin}/postgres -F -D ${cluster} -k /tmp -h 127.0.0.1 >&2 & ` +
        `until grep -qs ready ${cluster}/postmaster.pid; do sleep 0.1; done; exec "$@"`;
    return {
        entry: (server) => ({ ...server, command: '/bin/sh', args: ['-c', start, 'sh', server.command, ...server.args],
            sandbox: { ...server.sandbox, filesystem: {
                allowRead: [...server.sandbox.filesystem.allowRead, `${releases}/${release}`, `/usr/share/postgresql/${release}`],
                allowWrite: [directory] } } }),
        remove: () => rmSync(directory, { recursive: true, force: true }),
    };
}
