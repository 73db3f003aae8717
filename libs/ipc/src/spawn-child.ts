import { type ChildProcess, spawn } from 'node:child_process';
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { WarmlaneError } from '@warmlane/contracts';
import { Channel, type MethodTable } from './channel.js';

/** The descriptors that a child gets beside stdin, stdout and stderr. */
const LIFELINE_FD = 3;
const CHANNEL_FD = 4;

export interface SpawnChildOptions {
  /** The compiled program. */
  entry: string | URL;
  /** First argument of the program, and so part of its command line (`runtime`, `trial`, `reference`, ...). */
  role: string;
  args?: readonly string[];
  /** The whole environment of the child; nothing is added. */
  env: Readonly<Record<string, string | undefined>>;
  cwd?: string;
  /** Options of node itself. */
  execArgv?: readonly string[];
}

export interface ChildExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Child<Methods extends MethodTable<Methods>, Events> {
  readonly pid: number;
  readonly channel: Channel<Methods, Events>;
  /** Resolves when the process is gone; never rejects. */
  readonly exited: Promise<ChildExit>;
  kill(signal: NodeJS.Signals): void;
}

/**
 * Starts a child in its own session and process group: stdout and stderr are this process's stderr, a lifeline at
 * descriptor 3, a channel at descriptor 4. The child calls `dieWithLifeline` (libs/process) and
 * {@link parentChannel}. Throws
 * `internal` where the program cannot be started.
 */
export function spawnChild<Methods extends MethodTable<Methods>, Events = Record<never, never>>(
  options: SpawnChildOptions,
): Child<Methods, Events> {
  const entry = options.entry instanceof URL ? fileURLToPath(options.entry) : options.entry;
  const child = spawn(process.execPath, [...(options.execArgv ?? []), entry, options.role, ...(options.args ?? [])], {
    // stdout belongs to the one line that `serve` prints: a child's goes to stderr.
    stdio: ['ignore', 2, 2, 'pipe', 'pipe'],
    detached: true,
    env: { ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const exited = new Promise<ChildExit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    // An 'error' after the start (a signal that could not be sent) says nothing about the end of the process.
    child.on('error', () => undefined);
  });
  const { pid } = child;
  const stream = child.stdio[CHANNEL_FD];
  if (pid === undefined || !(stream instanceof Duplex)) {
    throw new WarmlaneError('internal', `cannot start ${entry}`, 'Run the build, and check the limit of processes.');
  }
  holdLifeline(child);
  return { pid, channel: new Channel<Methods, Events>(stream), exited, kill: (signal) => child.kill(signal) };
}

/** The lifeline's end here stays open until the child is gone; its errors say only that it is. */
function holdLifeline(child: ChildProcess): void {
  child.stdio[LIFELINE_FD]?.on('error', () => undefined);
}

/** More than a socket pair's buffer holds (208 KiB by Linux's default), so that one read empties it. */
const READ_BYTES = 256 * 1024;

/** The child's end of the channel that {@link spawnChild} opened. Reads into one buffer over and over. */
export function parentChannel<Methods extends MethodTable<Methods>, Events = Record<never, never>>(
  fd: number = CHANNEL_FD,
): Channel<Methods, Events> {
  let receive: (chunk: Buffer) => void = () => undefined;
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  const callback = (bytes: number): boolean => {
    receive(buffer.subarray(0, bytes));
    return true;
  };
  // Node's documentation has `onread` for the constructor, its types for `connect` alone.
  const options: SocketConstructorOpts & { onread: OnReadOpts } = {
    fd,
    readable: true,
    writable: true,
    onread: { buffer, callback },
  };
  const socket = new Socket(options);
  // Nobody reads from the stream itself, but its end shows only while it flows.
  socket.resume();
  return new Channel<Methods, Events>(socket, (receiver) => {
    receive = receiver;
  });
}
