import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, vi } from 'vitest';
import { descendants, type ProcessInfo, processesAround } from '../support/process-tree.js';
import { MODELS, planOf, writeCatalogue } from './catalogue.fixture.js';

const CLI = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));
const LOG_KEPT = 400_000;
/** For whoever looks into a failure: all that the processes log goes to this file as well. */
const LOG_FILE = process.env.WARMLANE_TEST_LOG ?? '';
const START_MS = 120_000;

export type Role = 'runtime' | 'reference' | 'fallback' | 'worker' | 'api' | 'redis';

export interface SystemOptions {
  workers?: number;
  /** More of the environment of `serve`. */
  env?: Readonly<Record<string, string>>;
}

/** `warmlane serve` with its own Redis, as a user starts it, on the models of the traffic. */
export class WarmlaneSystem implements AsyncDisposable {
  private constructor(
    readonly folder: string,
    readonly url: string,
    readonly workers: number,
    private readonly serve: ChildProcess,
    log: () => string,
  ) {
    this.log = log;
  }

  /** The last part of what its processes wrote to stderr. */
  readonly log: () => string;

  /** Resolves once it prints that it is ready; lanes may still be warming. */
  static async start(options: SystemOptions = {}): Promise<WarmlaneSystem> {
    const folder = await mkdtemp(join(tmpdir(), 'warmlane-chaos-'));
    await writeCatalogue(join(folder, 'models'));
    return WarmlaneSystem.again(folder, options);
  }

  /** Starts `serve` on a folder that an earlier one left. */
  static async again(folder: string, { workers = 1, env = {} }: SystemOptions = {}): Promise<WarmlaneSystem> {
    const args = ['serve', '--models', join(folder, 'models'), '--http', '127.0.0.1:0', '--device', 'cpu'];
    const child = spawn(process.execPath, [CLI, ...args, '--workers', String(workers)], {
      cwd: folder,
      env: { ...process.env, WARMLANE_DATA: join(folder, 'data'), WARMLANE_LOG_LEVEL: 'info', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-LOG_KEPT);
      if (LOG_FILE !== '') appendFileSync(LOG_FILE, text);
    });
    let printed = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
    const url = await vi.waitUntil(
      () => {
        if (child.exitCode !== null) throw new Error(`serve ended with ${child.exitCode}:\n${log.slice(-3_000)}`);
        return /^warmlane ready (\S+)\n/.exec(printed)?.[1];
      },
      { timeout: START_MS, interval: 50 },
    );
    return new WarmlaneSystem(folder, url, workers, child, () => log);
  }

  get models(): string {
    return join(this.folder, 'models');
  }

  get pid(): number {
    return this.serve.pid ?? 0;
  }

  /** Processes of a role. */
  async find(role: Role): Promise<ProcessInfo[]> {
    const title = role === 'redis' ? /\bredis-server\b/ : new RegExp(`^warmlane ${role}$`);
    const family = await descendants(this.pid);
    // Redis's own child that rewrites its file has the same name; its parent is no root of the family.
    return family.filter((each) => title.test(each.title) && (role !== 'redis' || each.parent === this.pid));
  }

  /** The address of its own Redis, the same over restarts. */
  async redisUrl(): Promise<string> {
    const port = await vi.waitUntil(
      async () => {
        const [redis] = await this.find('redis');
        return /(?:--port |:)(\d+)/.exec(redis?.title ?? '')?.[1];
      },
      { timeout: 30_000, interval: 50 },
    );
    return `redis://127.0.0.1:${port}`;
  }

  /** Every required lane is READY on a live worker, every worker serves. Returns how long that took, ms. */
  async untilWarm(limitMs: number): Promise<number> {
    const startedAt = performance.now();
    await vi.waitFor(
      async () => {
        expect(await this.#cold(), 'what is not warm').toEqual([]);
      },
      { timeout: limitMs, interval: 100 },
    );
    return performance.now() - startedAt;
  }

  async #cold(): Promise<string[]> {
    const [models, lanes, workers] = await Promise.all([
      Promise.all(MODELS.map(async (model) => (await this.#get(`/v2/models/${model}/versions/1/ready`)).status)),
      this.#get('/v1/lanes').then((answer) => answer.json() as Promise<{ lanes: LaneView[] }>),
      this.#get('/v1/workers').then((answer) => answer.json() as Promise<{ workers: WorkerView[] }>),
    ]);
    const problems = MODELS.filter((_, at) => models[at] !== 200).map((model) => `${model} is not ready`);
    const serving = new Map(
      workers.workers.filter((worker) => worker.state === 'serving').map((each) => [each.id, each]),
    );
    if (serving.size !== this.workers) problems.push(`${serving.size} workers serve: ${JSON.stringify(workers)}`);
    for (const model of MODELS) {
      for (const shapeKey of planOf(model)) {
        const own = lanes.lanes.filter((lane) => lane.model === model && lane.shapeKey === shapeKey);
        const ready = own.some((lane) => lane.state === 'READY' && serving.get(lane.worker)?.epoch === lane.epoch);
        if (!ready) problems.push(`${model} ${shapeKey}: ${own.map((each) => `${each.state} ${each.reason}`).join()}`);
      }
    }
    return problems;
  }

  #get(path: string): Promise<Response> {
    return fetch(`${this.url}${path}`, { headers: { connection: 'close' }, signal: AbortSignal.timeout(5_000) });
  }

  /** Ends `serve` by a signal; resolves with its exit code, null where the signal ended it. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.serve.exitCode === null && this.serve.signalCode === null) {
      const exit = once(this.serve, 'exit');
      this.serve.kill(signal);
      await exit;
    }
    return this.serve.exitCode;
  }

  /** Processes that belong to it, whoever their parent is by now. */
  remains(): Promise<ProcessInfo[]> {
    return processesAround(this.folder);
  }

  /** Children see their parent's end, Redis writes its file first. */
  async untilGone(): Promise<void> {
    await vi.waitFor(async () => expect(await this.remains()).toEqual([]), { timeout: 20_000, interval: 50 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
    for (const { pid } of await this.remains()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself meanwhile.
      }
    }
    await this.untilGone();
    await rm(this.folder, { recursive: true, force: true });
  }
}

interface LaneView {
  model: string;
  shapeKey: string;
  state: string;
  reason: string;
  worker: string;
  epoch: number;
}

interface WorkerView {
  id: string;
  state: string;
  epoch: number;
}
