import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { ROOT } from './result.js';

export interface CpuWorkerOptions {
  models: string;
  redis: string;
  /** A folder of its own. */
  data: string;
  env?: Record<string, string>;
}

/** A worker on the CPU beside those of a system, as `./warmlane worker` starts it. */
export class CpuWorker {
  readonly #child: ChildProcess;

  constructor({ models, redis, data, env }: CpuWorkerOptions) {
    this.#child = spawn(process.execPath, [`${ROOT}apps/cli/dist/main.js`, 'worker'], {
      cwd: ROOT,
      env: {
        ...process.env,
        WARMLANE_REDIS: redis,
        WARMLANE_MODELS: models,
        WARMLANE_DATA: data,
        WARMLANE_DEVICE: 'cpu',
        ...env,
      },
      stdio: 'inherit',
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill(signal);
    await once(this.#child, 'exit');
  }
}

/** Several, until the end of a scope. */
export class CpuWorkers implements AsyncDisposable {
  readonly #all: CpuWorker[];

  constructor(all: readonly CpuWorkerOptions[]) {
    this.#all = all.map((options) => new CpuWorker(options));
  }

  get pids(): number[] {
    return this.#all.map((one) => one.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#all.map((one) => one.end('SIGTERM')));
  }
}
