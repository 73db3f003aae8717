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

/** Processor cores that processes use from now on. */
export class Usage {
  private constructor(
    private readonly roots: readonly number[],
    private readonly before: ReadonlyMap<string, number>,
    private readonly begun: number,
  ) {}

  /** Of the processes below several ones, and of those themselves. */
  static async start(roots: readonly number[]): Promise<Usage> {
    return new Usage(roots, await secondsOf(roots), performance.now());
  }

  /** By title, since the start. */
  async cores(): Promise<Map<string, number>> {
    const seconds = (performance.now() - this.begun) / 1_000;
    const after = await secondsOf(this.roots);
    return new Map([...after].map(([title, used]) => [title, (used - (this.before.get(title) ?? 0)) / seconds]));
  }
}

async function secondsOf(roots: readonly number[]): Promise<Map<string, number>> {
  const each = await Promise.all(roots.map(cpuSeconds));
  const sums = new Map<string, number>();
  for (const one of each) for (const [title, seconds] of one) sums.set(title, (sums.get(title) ?? 0) + seconds);
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
