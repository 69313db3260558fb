// What the host holds because of a berth: processes, mounts, loop devices, groups and directories, and what its server
// uses itself. Everything is told apart by the test's own directory, so that other servers do not matter.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const numbers = (directory) => readdirSync(directory).filter((name) => /^\d+$/.test(name)).map(Number);

function text(path) {
    try {
        return readFileSync(path, 'utf8');
    } catch {
        return '';      // it has gone meanwhile
    }
}

function names(directory) {
    try {
        return readdirSync(directory);
    } catch {
        return [];
    }
}

/** Processes whose command line names the directory, as [pid, command]. */
export function processes(directory) {
    return numbers('/proc').map((pid) => [pid, text(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')])
        .filter(([, command]) => command.includes(`${directory}/`));
}

export function mounts(directory) {
    return text('/proc/self/mountinfo').split('\n').map((line) => line.split(' ')[4] ?? '')
        .filter((point) => point.startsWith(`${directory}/`));
}

/** Loop devices over files below the directory, deleted ones too. */
export function loops(directory) {
    return names('/sys/block').filter((name) => name.startsWith('loop'))
        .map((name) => text(`/sys/block/${name}/loop/backing_file`).trim())
        .filter((file) => file.startsWith(`${directory}/`));
}

/** Slots that have a control group, in any hierarchy. */
export function groups(data) {
    const ours = `berth-${createHash('sha256').update(`${data}/sandboxes`).digest('hex').slice(0, 12)}`;
    const found = new Set();
    for (const at of ['', ...names('/sys/fs/cgroup')]) {
        const group = join('/sys/fs/cgroup', at, ours);
        if (existsSync(group)) names(group).filter((name) => statSync(join(group, name)).isDirectory())
            .forEach((name) => found.add(name));
    }
    return [...found];
}

/** The groups' parents, which `berth down` removes too. */
export function groupParents(data) {
    const ours = `berth-${createHash('sha256').update(`${data}/sandboxes`).digest('hex').slice(0, 12)}`;
    return ['', ...names('/sys/fs/cgroup')].map((at) => join('/sys/fs/cgroup', at, ours)).filter(existsSync);
}

/** Slots that have a range of user ids: native ones. The claims say which process answers for which slot (sandbox/native/id_ranges.hpp). */
export function ranges(data) {
    return names('/run/berth/ids').filter((name) => /^\d+$/.test(name)).map((name) => {
        try {
            return readlinkSync(`/run/berth/ids/${name}`);
        } catch {
            return '';
        }
    }).filter((claim) => claim.includes(` ${data}/sandboxes/slots/`)).map((claim) => claim.split('/').at(-1));
}

export const slots = (data) => names(join(data, 'sandboxes', 'slots'));
export const volumes = (data) => names(join(data, 'volumes'));

/** The volume of each workspace and snapshot, by the server's own records. */
export function recordedVolumes(data) {
    const records = new DatabaseSync(join(data, 'registry.sqlite'), { readOnly: true });
    try {
        return new Map(records.prepare('SELECT id, volume FROM workspaces UNION ALL SELECT id, volume FROM snapshots').all().map(({ id, volume }) => [id, volume]));
    } finally {
        records.close();
    }
}

/** Where the host has a workspace's files. */
export const volumeOf = (data, workspace) => join(data, 'volumes', recordedVolumes(data).get(workspace), 'fs');

/** { memory, peak, descriptors, threads } of a process; memory in bytes. */
export function use(pid) {
    const status = text(`/proc/${pid}/status`);
    const kib = (key) => Number(status.match(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm'))?.[1] ?? NaN) * 1024;
    return {
        memory: kib('VmRSS'), peak: kib('VmHWM'), descriptors: names(`/proc/${pid}/fd`).length,
        threads: Number(status.match(/^Threads:\s+(\d+)/m)?.[1]),
    };
}

/**
 * '' when every slot, group, mount, loop device, volume and process is accounted for, else the first that is not.
 * `snapshots` is how many have a volume.
 */
export async function unaccounted(berth, workspaces, snapshots = 0) {
    const slot = new Set(slots(berth.data));
    for (const name of groups(berth.data)) if (!slot.has(name)) return `group ${name}`;
    for (const name of ranges(berth.data)) if (!slot.has(name)) return `user ids of ${name}`;
    for (const [pid, command] of processes(`${berth.data}/sandboxes/slots`)) {
        const name = command.split(`${berth.data}/sandboxes/slots/`)[1].split(/[/ ]/)[0];
        if (!slot.has(name)) return `process ${pid}: ${command}`;
    }
    const volume = new Set(volumes(berth.data));
    const recorded = recordedVolumes(berth.data);
    for (const name of recorded.values()) if (!volume.has(name)) return `no volume ${name}`;
    if (recorded.size !== workspaces.size + snapshots) {
        return `records of volumes ${[...recorded]} for ${[...workspaces]} and ${snapshots} snapshots`;
    }
    const named = new Set(recorded.values());
    const stock = [...volume].filter((name) => !named.has(name));
    for (const point of [...mounts(`${berth.data}/volumes`), ...loops(`${berth.data}/volumes`)]) {
        const name = point.slice(`${berth.data}/volumes/`.length).split('/')[0];
        if (!volume.has(name)) return `mount or loop device of ${point}`;
    }
    for (const point of mounts(`${berth.data}/sandboxes/slots`)) {
        const name = point.slice(`${berth.data}/sandboxes/slots/`.length).split('/')[0];
        if (!slot.has(name)) return `mount ${point}`;
    }
    const headers = { Authorization: `Bearer ${berth.token}` };
    const metrics = await (await fetch(berth.url.replace('/mcp', '/metrics'), { headers })).text();
    const known = Number(metrics.match(/^berth_sandboxes (\d+)$/m)[1]);
    if (known !== slot.size) return `${slot.size} slots, of which the server knows ${known}`;
    const ready = Number(metrics.match(/^berth_volumes_ready (\d+)$/m)[1]);
    if (stock.length !== ready) return `volumes ${stock}, of which ${ready} are in stock`;
    return '';
}
