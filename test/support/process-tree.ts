import { readdir, readFile, readlink } from 'node:fs/promises';

export interface ProcessInfo {
  pid: number;
  parent: number;
  /** Command line, arguments separated by blanks. */
  title: string;
}

/** What /proc/PID/stat says, or null: the process ended, also one that nobody has waited for yet. */
async function look(pid: number): Promise<ProcessInfo | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The command name in parentheses may itself hold blanks and parentheses.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return null;
    const title = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ').trim();
    return { pid, parent: Number(parent), title };
  } catch {
    return null;
  }
}

async function processes(): Promise<ProcessInfo[]> {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry)).map(Number);
  const found = await Promise.all(pids.map(look));
  return found.filter((each) => each !== null);
}

/** Every process that descends from `root`, without it, parents before children. */
export async function descendants(root: number): Promise<ProcessInfo[]> {
  const all = await processes();
  const found: ProcessInfo[] = [];
  let parents = new Set([root]);
  while (parents.size > 0) {
    const children = all.filter((each) => parents.has(each.parent));
    found.push(...children);
    parents = new Set(children.map((each) => each.pid));
  }
  return found;
}

/** Processes that work below a folder or have it in their environment, whoever their parent is by now. */
export async function processesAround(folder: string): Promise<ProcessInfo[]> {
  const all = (await processes()).filter((each) => each.pid !== process.pid);
  const marked = await Promise.all(
    all.map(async ({ pid }) => {
      const environ = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '');
      return environ.includes(folder) || cwd.startsWith(folder);
    }),
  );
  return all.filter((_, at) => marked[at] === true);
}
