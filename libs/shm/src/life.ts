import { readFileSync, readlinkSync } from 'node:fs';

/** A process, told apart from a later one with the same pid by when it started. */
export interface Life {
  pid: number;
  /** Clock ticks since the boot. */
  start: string;
}

/** A process as others find it: pids mean something only in the same boot and pid namespace. */
export interface LocatedLife extends Life {
  boot: string;
  namespace: string;
}

/** When a process started; null where there is none, or only what is left of one. */
export function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name may hold anything, also brackets and spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state] = fields;
    return state === 'Z' || state === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

export function isAlive({ pid, start }: Life): boolean {
  return startOf(pid) === start;
}

let here: Pick<LocatedLife, 'boot' | 'namespace'> | null = null;

export function place(): Pick<LocatedLife, 'boot' | 'namespace'> {
  here ??= {
    boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    namespace: readlinkSync('/proc/self/ns/pid'),
  };
  return here;
}

export function ownLife(): LocatedLife {
  return { pid: process.pid, start: startOf(process.pid) ?? '', ...place() };
}
