import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import koffi from 'koffi';

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;
const LOCK_EX_NB = 2 | 4;

interface LibC {
  prctl: (option: number, value: number) => number;
  flock: (descriptor: number, operation: number) => number;
}

let libc: LibC | null = null;

/** Loaded at the first use: ONNX Runtime's bindings set koffi's stack sizes before anything is loaded. */
function load(): LibC {
  if (libc === null) {
    const library = koffi.load('libc.so.6');
    libc = {
      prctl: library.func('int prctl(int option, unsigned long value)') as LibC['prctl'],
      flock: library.func('int flock(int fd, int operation)') as LibC['flock'],
    };
  }
  return libc;
}

/**
 * Has the kernel kill this process when its parent dies. Exits at once where the parent is gone already: the signal
 * would never come.
 */
export function dieWithParent(parentPid: number): void {
  load().prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (process.ppid !== parentPid) process.exit(1);
}

export type LockResult = { held: false; release: () => void } | { held: true; by: string };

/** Takes the file's lock (flock) for the life of this process; does not wait. The holder's pid stands in the file. */
export function lockFile(file: string): LockResult {
  const descriptor = openSync(file, 'a+', 0o666);
  if (load().flock(descriptor, LOCK_EX_NB) !== 0) {
    const by = readFileSync(file, 'utf8').trim();
    closeSync(descriptor);
    return { held: true, by };
  }
  ftruncateSync(descriptor);
  writeSync(descriptor, `${process.pid}\n`);
  return { held: false, release: () => closeSync(descriptor) };
}
