import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';

/** Which process it was, so that a recycled process id is not taken for it. */
export interface ProcessNote {
  pid: number;
  /** Start time in clock ticks since boot; where there is no /proc, `alive`. */
  startTicks: string;
}

const POLL_MS = 50;

export async function describeProcess(pid: number): Promise<ProcessNote> {
  return { pid, startTicks: await startTicks(pid) };
}

/** Writes down which process it is. */
export async function noteProcess(path: string, pid: number): Promise<void> {
  await writeFile(path, JSON.stringify(await describeProcess(pid)));
}

/** What was written down, or null: nothing, or a note cut off while it was written. */
export async function readNote(path: string): Promise<ProcessNote | null> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (typeof value === 'object' && value !== null && 'pid' in value && 'startTicks' in value) {
      return { pid: Number(value.pid), startTicks: String(value.startTicks) };
    }
  } catch {
    // No such note.
  }
  return null;
}

/** Whether that very process still runs. */
export async function isSameProcess(note: ProcessNote): Promise<boolean> {
  return (await startTicks(note.pid)) === note.startTicks;
}

/** Waits for the noted process to end, and kills it after `limitMs`. */
export async function waitForNotedProcess(path: string, limitMs: number): Promise<void> {
  const note = await readNote(path);
  if (note === null) {
    return;
  }
  const until = performance.now() + limitMs;
  while (await isSameProcess(note)) {
    if (performance.now() > until) {
      process.kill(note.pid, 'SIGKILL');
      return;
    }
    await wait(POLL_MS);
  }
}

/** Field 22 of /proc/PID/stat; `gone` for a process that ended, also one not yet reaped. */
async function startTicks(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The command name in parentheses may itself hold blanks and parentheses.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? 'gone' : (fields[19] ?? 'gone');
  } catch {
    try {
      process.kill(pid, 0);
      return 'alive';
    } catch {
      return 'gone';
    }
  }
}
