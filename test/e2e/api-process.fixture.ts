import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LIFELINE_ENV, LIFELINE_FD } from '@warmlane/process';

const MAIN = fileURLToPath(new URL('../../apps/api/dist/main.js', import.meta.url));
const START_LIMIT_MS = 60_000;

export interface LogLine {
  level: string;
  msg: string;
  [field: string]: unknown;
}

export interface ApiExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Everything the process wrote on stderr. */
  stderr: string;
}

/** A real API process on a free port. */
export class ApiProcess implements AsyncDisposable {
  readonly lines: LogLine[] = [];
  #stderr = '';
  #url = '';
  readonly exit: Promise<ApiExit>;

  readonly #listening: Promise<string>;

  private constructor(readonly child: ChildProcess) {
    const { stderr } = child;
    if (stderr === null) throw new Error('the API has no stderr');
    this.#listening = new Promise<string>((resolve) => {
      createInterface({ input: stderr }).on('line', (text) => {
        this.#stderr += `${text}\n`;
        if (!text.startsWith('{')) return;
        const line = JSON.parse(text) as LogLine;
        this.lines.push(line);
        if (line.msg === 'listening') resolve(String(line.url));
      });
    });
    this.exit = once(child, 'close').then(([code, signal]) => ({ code, signal, stderr: this.#stderr }));
  }

  /** Starts it without waiting for it to listen. */
  static spawn(environment: Record<string, string>): ApiProcess {
    const child = spawn(process.execPath, [MAIN], {
      env: {
        PATH: process.env.PATH ?? '',
        WARMLANE_HTTP: '127.0.0.1:0',
        [LIFELINE_ENV]: String(LIFELINE_FD),
        ...environment,
      },
      // Descriptor 3 is the lifeline: no API outlives the test run, however that ends.
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    });
    return new ApiProcess(child);
  }

  /** Closes this side of the lifeline, as the death of the parent does. */
  cutLifeline(): void {
    const end = this.child.stdio[3];
    if (end instanceof Socket) end.destroy();
  }

  /** Starts it and waits until it listens. */
  static async start(environment: Record<string, string>): Promise<ApiProcess> {
    const api = ApiProcess.spawn(environment);
    await api.listening();
    return api;
  }

  /** How a process ends that is expected to end by itself. */
  ended(): Promise<ApiExit> {
    return this.exit;
  }

  async listening(): Promise<void> {
    const listening = this.#listening;
    const late = new Promise<never>((_resolve, reject) => {
      setTimeout(() => reject(new Error(`the API did not listen in time:\n${this.#stderr}`)), START_LIMIT_MS).unref();
    });
    const ended = this.exit.then((exit) => {
      throw new Error(`the API ended (${exit.code}, ${exit.signal}):\n${exit.stderr}`);
    });
    ended.catch(() => undefined);
    this.#url = await Promise.race([listening, ended, late]);
  }

  get url(): string {
    return this.#url;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** SIGTERM, and how it ended. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<ApiExit> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    return this.exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL');
  }
}
