import { spawn } from 'node:child_process';
import { LIFELINE_ENV, LIFELINE_FD, type ProcessEnd } from '@warmlane/process';

/** A process that was started and has not been seen to end. */
export interface RunningProcess {
  readonly pid: number;
  readonly ended: Promise<ProcessEnd>;
  signal(signal: NodeJS.Signals): void;
}

export const STDERR = 2;

/**
 * Starts one of our apps. Its stdout and stderr both go to `logFd`, never to our stdout, which carries our own lines
 * alone. Descriptor 3 is its lifeline. It leads its own process group: a Ctrl-C at the terminal reaches only us, and we
 * keep the order.
 */
export function startApp(main: string, env: NodeJS.ProcessEnv, logFd: number): RunningProcess {
  const child = spawn(process.execPath, ['--enable-source-maps', main], {
    env: { ...env, [LIFELINE_ENV]: String(LIFELINE_FD) },
    stdio: ['ignore', logFd, logFd, 'pipe'],
    detached: true,
  });
  // Nothing is ever written; the other end's close must not raise here.
  child.stdio[LIFELINE_FD]?.on('error', () => undefined);
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });
  return { pid: child.pid ?? 0, ended, signal: (signal) => void child.kill(signal) };
}
