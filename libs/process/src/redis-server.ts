import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort, isPortFree } from './free-port.js';
import type { RedisBinary } from './redis-finder.js';
import { SetupError } from './setup.error.js';

export interface RedisServerOptions {
  binary: RedisBinary;
  /** Given: that port or an error. Left out: a free one. */
  port?: number;
  /** Working folder, kept at the end. Left out: a temporary one, removed by `stop`. */
  dir?: string;
  /** `none`: nothing is written (tests, demo). `aof`: append-only file, fsync every second. Both refuse to evict. */
  persistence: 'none' | 'aof';
  /** More of redis-server's own arguments, e.g. `['--maxmemory', '64mb']`. */
  extraArgs?: readonly string[];
  /** Each line that the server logs. */
  onLine?: (line: string) => void;
}

export interface ProcessEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
}

const HOST = '127.0.0.1';
const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 5_000;
const PORT_TRIES = 5;

// The shell's background reader ends the server when the lifeline (descriptor 3) closes, so that it never outlives its
// parent; a line on it instead lets the reader go. `exec` keeps the process id: the server is our direct child.
const WRAPPER = '( if read -r _ <&3; then exit 0; fi; kill -s "$0" $$ ) & exec 3<&-; exec "$@"';

/** One redis-server process on 127.0.0.1 that dies with this process, even when this process is killed. */
export class RedisServer implements AsyncDisposable {
  #child: ChildProcess;
  #ended: Promise<ProcessEnd>;

  private constructor(
    private readonly options: RedisServerOptions,
    readonly port: number,
    readonly dir: string,
    started: Started,
  ) {
    this.#child = started.child;
    this.#ended = started.ended;
  }

  /** Resolves once the server accepts connections. @throws SetupError with the server's own last lines */
  static async start(options: RedisServerOptions): Promise<RedisServer> {
    const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'warmlane-redis-')));
    await mkdir(dir, { recursive: true });
    for (let attempt = 1; ; attempt += 1) {
      const port = options.port ?? (await freePort(HOST));
      try {
        return new RedisServer(options, port, dir, await launch(options, port, dir));
      } catch (error) {
        // A free port can be taken between the look and the start; any other reason is there at the next port as well.
        if (options.port !== undefined || attempt === PORT_TRIES || (await isPortFree(HOST, port))) {
          if (options.dir === undefined) {
            await rm(dir, { recursive: true, force: true });
          }
          throw error;
        }
      }
    }
  }

  get url(): string {
    return `redis://${HOST}:${this.port}`;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** When and how the present process ends. After `restart` a new promise. */
  get ended(): Promise<ProcessEnd> {
    return this.#ended;
  }

  /** Orderly end (SIGTERM, SIGKILL after 5 s); a temporary folder is removed. May be called twice. */
  async stop(): Promise<void> {
    if (this.#isRunning()) {
      this.#child.kill('SIGCONT');
      this.#child.kill('SIGTERM');
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      await this.#ended;
      clearTimeout(timer);
    }
    if (this.options.dir === undefined) {
      await rm(this.dir, { recursive: true, force: true });
    }
  }

  /** SIGKILL, as a crash; resolves when the process is gone. */
  async kill(): Promise<void> {
    if (this.#isRunning()) {
      this.#child.kill('SIGKILL');
      await this.#ended;
    }
  }

  /** Sends a signal to the present process; one that is gone gets none. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** SIGSTOP: connections stay open, nothing is answered. */
  pause(): void {
    this.signal('SIGSTOP');
  }

  /** SIGCONT after `pause`. */
  resume(): void {
    this.signal('SIGCONT');
  }

  /** Starts it again on the same port and folder; a process that still runs is killed first. */
  async restart(): Promise<void> {
    await this.kill();
    const started = await launch(this.options, this.port, this.dir);
    this.#child = started.child;
    this.#ended = started.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }
}

interface Started {
  child: ChildProcess;
  ended: Promise<ProcessEnd>;
}

function serverArgs(options: RedisServerOptions, port: number, dir: string): string[] {
  const persistence =
    options.persistence === 'aof'
      ? ['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '']
      : ['--appendonly', 'no', '--save', ''];
  return [
    ['--port', String(port), '--bind', HOST, '--dir', dir, '--daemonize', 'no', '--logfile', ''],
    ['--maxmemory-policy', 'noeviction'],
    persistence,
    options.extraArgs ?? [],
  ].flat();
}

async function launch(options: RedisServerOptions, port: number, dir: string): Promise<Started> {
  const { binary } = options;
  // What is only in memory may be cut off; an append-only file is flushed by an orderly end.
  const onOrphaned = options.persistence === 'aof' ? 'TERM' : 'KILL';
  const child = spawn('/bin/sh', ['-c', WRAPPER, onOrphaned, binary.command, ...serverArgs(options, port, dir)], {
    cwd: dir,
    env: binary.libraryPath === '' ? undefined : { LD_LIBRARY_PATH: binary.libraryPath },
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    // Its own group: a Ctrl-C at the terminal must not stop it before those who use it.
    detached: true,
  });
  const lifeline = child.stdio[3];
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once('exit', (code, signal) => {
      if (lifeline && 'end' in lifeline) {
        lifeline.end('released\n');
      }
      resolve({ code, signal });
    });
    child.once('error', () => resolve({ code: null, signal: null }));
  });
  // The reader may be gone already when the release is written.
  lifeline?.on('error', () => undefined);

  const lines: string[] = [];
  const ready = new AbortController();
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) {
      continue;
    }
    createInterface({ input: stream }).on('line', (line) => {
      options.onLine?.(line);
      if (!ready.signal.aborted) {
        lines.push(line);
        if (/ready to accept connections/i.test(line)) {
          ready.abort();
        }
      }
    });
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
  const outcome = await Promise.race([once(ready.signal, 'abort').then(() => null), ended]);
  clearTimeout(timer);
  if (outcome !== null) {
    throw new SetupError(
      `${binary.command} did not start on port ${port} with its files in ${dir} (code ${outcome.code ?? outcome.signal}): ` +
        `${lastWords(lines) || 'it printed nothing'}. Make room there or choose another folder or port, ` +
        'or name a running Redis with --redis URL.',
    );
  }
  return { child, ended };
}

/** What a server that did not start said last, without its pid and time, and without its advice about the kernel. */
function lastWords(lines: readonly string[]): string {
  return lines
    .map((line) => line.replace(/^\d+:[A-Z] .*? [*#.-] /, '').trim())
    .filter((line) => line !== '' && !line.startsWith('WARNING'))
    .slice(-2)
    .join(' | ');
}
