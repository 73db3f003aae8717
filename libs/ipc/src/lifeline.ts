import { Worker } from 'node:worker_threads';

/** The descriptors that {@link spawnChild} gives to a child, beside stdin, stdout and stderr. */
const LIFELINE_FD = 3;
export const CHANNEL_FD = 4;

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
export function watchLifeline(fd: number = LIFELINE_FD): void {
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
