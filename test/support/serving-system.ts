import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LaneDoc, NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { LIFELINE_ENV, LIFELINE_FD } from '@warmlane/process';
import { type InferAnswer, type InferRequest, Producer } from '@warmlane/queues';
import { createRedis, LaneStore, Liveness, WorkerStore } from '@warmlane/redis';
import { int32s, type StartRedisOptions, startRedis } from '@warmlane/testing';
import type { Redis } from 'ioredis';
import { expect, vi } from 'vitest';

const MAIN = fileURLToPath(new URL('../../apps/worker/dist/main.js', import.meta.url));

export interface RepositoryModel {
  bytes: Uint8Array;
  /** warmlane.yaml; left out: no plan. */
  yaml?: string;
}

/** A model repository in a folder of its own: version 1 of each. */
async function writeRepository(root: string, models: Readonly<Record<string, RepositoryModel>>): Promise<void> {
  for (const [name, { bytes, yaml }] of Object.entries(models)) {
    const folder = join(root, name, '1');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'model.onnx'), bytes);
    if (yaml !== undefined) await writeFile(join(folder, 'warmlane.yaml'), yaml);
  }
}

/** One real worker process. */
export class WorkerProcess {
  #log = '';

  constructor(readonly child: ChildProcess) {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log = (this.#log + text).slice(-200_000);
    });
  }

  get log(): string {
    return this.#log;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Process ids of its children of a role: `runtime`, `reference`, `fallback` or `trial`. */
  async children(role: string): Promise<number[]> {
    const found: number[] = [];
    for (const entry of await readdir('/proc')) {
      const pid = Number(entry);
      if (!Number.isInteger(pid)) continue;
      try {
        const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
        const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
        const title = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ').trim();
        if (parent === this.pid && title === `warmlane ${role}`) found.push(pid);
      } catch {
        // It ended while it was looked at.
      }
    }
    return found;
  }

  /** Kills its child of a role with SIGKILL. */
  async killChild(role: string): Promise<number> {
    const [pid] = await this.children(role);
    if (pid === undefined) throw new Error(`the worker has no ${role}:\n${this.#log.slice(-2_000)}`);
    process.kill(pid, 'SIGKILL');
    return pid;
  }

  async kill(): Promise<void> {
    await this.end('SIGKILL');
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.running) {
      const exit = once(this.child, 'exit');
      this.child.kill(signal);
      await exit;
    }
    return this.child.exitCode;
  }
}

/** Redis, workers and a producer: everything but the API. */
export class ServingSystem implements AsyncDisposable {
  readonly workers: WorkerProcess[] = [];
  readonly #liveness: Liveness;

  private constructor(
    readonly root: string,
    readonly server: Awaited<ReturnType<typeof startRedis>>,
    readonly redis: Redis,
    readonly blobRedis: Redis,
    readonly producer: Producer,
  ) {
    this.#liveness = new Liveness(redis);
  }

  static async start(
    models: Readonly<Record<string, RepositoryModel>>,
    redisOptions: StartRedisOptions = {},
  ): Promise<ServingSystem> {
    const root = await mkdtemp(join(tmpdir(), 'warmlane-serving-'));
    await writeRepository(join(root, 'models'), models);
    const server = await startRedis(redisOptions);
    const redis = createRedis(server.url, { name: 'test' });
    const blobRedis = createRedis(server.url, { name: 'test-blobs' });
    const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 30 });
    await producer.start();
    return new ServingSystem(root, server, redis, blobRedis, producer);
  }

  startWorker(env: Readonly<Record<string, string>> = {}): WorkerProcess {
    const child = spawn(process.execPath, [MAIN], {
      env: {
        ...process.env,
        WARMLANE_REDIS: this.server.url,
        WARMLANE_MODELS: join(this.root, 'models'),
        WARMLANE_DATA: join(this.root, `data-${this.workers.length}`),
        WARMLANE_DEVICE: 'cpu',
        WARMLANE_LOG_LEVEL: 'info',
        [LIFELINE_ENV]: String(LIFELINE_FD),
        ...env,
      },
      // Nothing of the test run is held open by a worker, and none outlives it.
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    });
    const worker = new WorkerProcess(child);
    this.workers.push(worker);
    return worker;
  }

  lanes(): Promise<LaneDoc[]> {
    return new LaneStore(this.redis).list();
  }

  /** Waits until so many lanes are READY. */
  async untilReady(count: number, limitMs = 60_000): Promise<LaneDoc[]> {
    let ready: LaneDoc[] = [];
    await vi.waitFor(
      async () => {
        const all = await this.lanes();
        ready = all.filter((lane) => lane.state === 'READY');
        const states = all.map((lane) => `${lane.shapeKey} ${lane.state} ${lane.reason}`).join('\n');
        expect(ready.length, `${states}\n${this.workers.map((worker) => worker.log.slice(-3_000)).join('\n')}`).toBe(
          count,
        );
      },
      { timeout: limitMs, interval: 100 },
    );
    return ready;
  }

  /** Waits until so many workers hold a model, and so can adopt. */
  async untilLive(count: number, limitMs = 60_000): Promise<void> {
    await vi.waitFor(
      async () => {
        const live = await this.#liveness.live();
        const docs = await new WorkerStore(this.redis).list();
        const able = docs.filter((doc) => live.has(doc.id) && doc.models.length > 0 && doc.epoch === live.get(doc.id));
        expect(able.length).toBe(count);
      },
      { timeout: limitMs, interval: 100 },
    );
  }

  /** Waits until a lane serves. */
  async untilServing(limitMs: number): Promise<void> {
    await vi.waitFor(async () => expect((await this.lanes()).some((lane) => lane.state === 'READY')).toBe(true), {
      timeout: limitMs,
      interval: 100,
    });
  }

  infer(model: string, inputs: NamedTensor[], over: Partial<InferRequest> = {}): Promise<InferAnswer> {
    return this.producer.infer({ model, version: '1', inputs, ...over });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.kill()));
    await this.producer.close();
    this.#liveness.close();
    this.redis.disconnect();
    this.blobRedis.disconnect();
    await this.server.stop();
    await rm(this.root, { recursive: true, force: true });
  }
}

export interface Outcome {
  right: boolean;
  code: string;
  lane: string;
  worker: string;
  ms: number;
}

/** Sends additions to model `add` at a fixed rate until told to end; every one must come to an end. */
export function steady(system: ServingSystem, perSecond: number) {
  const outcomes: Promise<Outcome>[] = [];
  let sent = 0;
  const timer = setInterval(() => {
    const n = sent++;
    const begun = performance.now();
    const inputs = [int32s('INPUT0', [1, 16], Array(16).fill(n)), int32s('INPUT1', [1, 16], Array(16).fill(1))];
    outcomes.push(
      system.infer('add', inputs, { outputs: ['OUTPUT0'], deadlineMs: 30_000 }).then(
        ({ outputs, lane, worker }) => ({
          right: Buffer.from(outputs[0]?.data ?? []).readInt32LE(0) === n + 1,
          code: '',
          lane,
          worker,
          ms: performance.now() - begun,
        }),
        (error: WarmlaneError) => ({
          right: false,
          code: error.code,
          lane: '',
          worker: '',
          ms: performance.now() - begun,
        }),
      ),
    );
  }, 1_000 / perSecond);
  return {
    count: () => sent,
    async end(): Promise<Outcome[]> {
      clearInterval(timer);
      return Promise.all(outcomes);
    },
  };
}
