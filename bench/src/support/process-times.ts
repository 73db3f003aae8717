import { readdir, readFile } from 'node:fs/promises';

const TICKS_PER_SECOND = 100;

/** CPU seconds that the processes below a process used so far, by title; titles of ours begin with `warmlane`. */
export async function cpuSeconds(root: number): Promise<Map<string, number>> {
  const stats = await Promise.all((await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(readStat));
  const known = stats.filter((stat) => stat !== null);
  const inside = new Set([root]);
  // Parents have smaller ids than their children unless ids wrapped around: look until nothing is added.
  for (let before = -1; before !== inside.size; ) {
    before = inside.size;
    for (const { pid, parent } of known) if (inside.has(parent)) inside.add(pid);
  }
  const sums = new Map<string, number>();
  for (const { pid, title, ticks } of known) {
    if (inside.has(pid)) sums.set(title, (sums.get(title) ?? 0) + ticks / TICKS_PER_SECOND);
  }
  return sums;
}

async function readStat(pid: string) {
  try {
    const [stat, command] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile(`/proc/${pid}/cmdline`, 'utf8'),
    ]);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const title = command.split('\0')[0]?.split('/').pop()?.trim() ?? '';
    return { pid: Number(pid), parent: Number(fields[1]), title, ticks: Number(fields[11]) + Number(fields[12]) };
  } catch {
    return null;
  }
}
