import { Socket } from 'node:net';
import { Worker } from 'node:worker_threads';

/**
 * A child started with a lifeline has a pipe on this descriptor whose other end only its parent holds: it closes when the
 * parent ends, however it ends (SIGKILL too).
 */
export const LIFELINE_FD = 3;

/** Tells a child, as `WARMLANE_LIFELINE_FD`, that it has a lifeline. */
export const LIFELINE_ENV = 'WARMLANE_LIFELINE_FD';

/**
 * Exit code of a process whose settings cannot work, so that starting it again is of no use (EX_CONFIG of sysexits.h).
 * `serve` gives up on a child that ends so before it was ready.
 */
export const EXIT_CONFIG = 78;

/**
 * Calls `onLost` once when the parent's end of the lifeline closes. The watch does not keep the process alive.
 * @param fd the value of `WARMLANE_LIFELINE_FD`, as a number
 * @throws when the descriptor is not a pipe or socket
 */
export function watchLifeline(fd: number, onLost: () => void): void {
  const socket = new Socket({ fd, readable: true, writable: false });
  let lost = false;
  const notify = (): void => {
    if (!lost) {
      lost = true;
      onLost();
    }
  };
  // A reset instead of an end says the same: the parent is gone.
  socket.on('error', notify);
  socket.on('close', notify);
  socket.on('end', notify);
  socket.resume();
  socket.unref();
}

/**
 * Runs on a thread of its own, because the main thread may sit in a native call when the parent dies. It waits on its
 * event loop and not in a blocking read: a thread inside read(2) cannot be joined, and `process.exit` joins it.
 */
const WATCH = `
const { Socket } = require('node:net');
const { workerData } = require('node:worker_threads');
const die = () => process.kill(process.pid, 'SIGKILL');
try {
  new Socket({ fd: workerData.fd, readable: true, writable: false })
    .on('end', die).on('close', die).on('error', die).resume();
} catch { die(); }
`;

/**
 * Ties this process to the other end of `fd`, which the parent holds and never writes to: when the parent is gone, by
 * whatever way, this process is killed (SIGKILL), even inside a blocking native call. A descriptor that cannot be read
 * counts as a parent that is gone. Does not keep the process alive.
 */
export function dieWithLifeline(fd: number = LIFELINE_FD): void {
  const thread = new Worker(WATCH, {
    eval: true,
    workerData: { fd },
    env: {},
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4, stackSizeMb: 1 },
  });
  thread.on('error', () => process.kill(process.pid, 'SIGKILL'));
  thread.unref();
}
