import {
  type ClassJob,
  type LaneDoc,
  modelConfigSchema,
  type NamedTensor,
  newId,
  type WarmLaneJob,
  WarmlaneError,
} from '@warmlane/contracts';
import { createWorker, EVENTS_KEPT, SERVING_SETTINGS, WARMUP_SETTINGS, type WorkerSettings } from '@warmlane/queues';
import {
  BlobStore,
  classQueueName,
  coldQueueName,
  createRedis,
  HEARTBEAT_EVERY_MS,
  LaneStore,
  ModelStore,
  ReplyStore,
  WarmLaneQueueStore,
  WorkerStore,
  warmLaneQueueName,
} from '@warmlane/redis';
import { UnrecoverableError, type Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { laneDoc, readyDoc, workerDoc } from './documents.fixture.js';

export const MODEL = 'echo';
export const SHAPE = 'x:float32[1,4]';

/** Registers `echo` 1: y is x. Any width. */
export async function registerEcho(redis: Redis, version = '1', config: Record<string, unknown> = {}): Promise<void> {
  const models = new ModelStore(redis);
  await models.register({
    name: MODEL,
    version,
    state: 'LOADED',
    reason: '',
    digest: version.repeat(64).slice(0, 64),
    metadata: {
      inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 'W'] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 'W'] }],
    },
    config: modelConfigSchema.parse(config),
  });
  await models.setState(MODEL, version, 'LOADED', '');
}

export function tensor(values: readonly number[]): NamedTensor {
  return {
    name: 'x',
    dtype: 'float32',
    dims: [1, values.length],
    data: new Uint8Array(new Float32Array(values).buffer),
  };
}

export function valuesOf(output: { data: Uint8Array }): number[] {
  const { data } = output;
  return [...new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength))];
}

export interface StandInOptions {
  id?: string;
  /** Called before a job is answered; what it throws is answered as the error. */
  before?: (job: ClassJob) => Promise<void>;
  /** The nonce that it claims to have read. */
  proof?: string;
  settings?: Partial<WorkerSettings>;
  concurrency?: number;
}

/**
 * A worker without lanes: it holds classes, consumes their queues and the cold queue, and answers y = x, by the same
 * stores and queues as the real one. `die` stops it as a kill would: no heartbeat, active jobs left locked.
 */
export class StandInWorker {
  readonly id: string;
  readonly runs: ClassJob[] = [];
  /** Repeats that were answered already. */
  readonly skipped: ClassJob[] = [];
  readonly warmed: WarmLaneJob[] = [];
  readonly redis: Redis;
  epoch = 0;
  readonly #workers: Worker[] = [];
  readonly #replies: ReplyStore;
  readonly #blobs: BlobStore;
  readonly #store: WorkerStore;
  #beat: NodeJS.Timeout | null = null;
  #dead = false;

  constructor(
    url: string,
    private readonly options: StandInOptions = {},
  ) {
    this.id = options.id ?? 'w-0';
    this.redis = createRedis(url, { name: this.id });
    this.#replies = new ReplyStore(this.redis);
    this.#blobs = new BlobStore(this.redis, this.redis, { limitBytes: 2 ** 30 });
    this.#store = new WorkerStore(this.redis);
  }

  async start(): Promise<this> {
    this.epoch = await this.#store.nextEpoch(this.id);
    await this.#store.put(workerDoc({ id: this.id, epoch: this.epoch, models: [`${MODEL}/1`] }));
    await this.#store.heartbeat(this.id, this.epoch);
    this.#beat = setInterval(() => {
      this.#store.heartbeat(this.id, this.epoch).catch(() => undefined);
    }, HEARTBEAT_EVERY_MS);
    return this;
  }

  /** Holds the class READY and consumes its queue. */
  async hold(shapeKey = SHAPE, version = '1'): Promise<LaneDoc> {
    const doc = readyDoc({ id: newId(), model: MODEL, version, shapeKey, worker: this.id, epoch: this.epoch });
    await new LaneStore(this.redis).ready(doc, shapeKey);
    await this.consume(classQueueName(MODEL, version, shapeKey));
    return doc;
  }

  serveCold(version = '1'): Promise<void> {
    return this.consume(coldQueueName(MODEL, version));
  }

  /** Consumes its warm-up queue; `warm` says what becomes of each job. */
  async warmLanes(
    warm: (job: WarmLaneJob, signal: AbortSignal | undefined) => Promise<'ready' | 'lie' | Error>,
  ): Promise<void> {
    const lanes = new LaneStore(this.redis);
    await new WarmLaneQueueStore(this.redis).use([this.id], { eventsKept: EVENTS_KEPT });
    const worker = createWorker<WarmLaneJob, void>(
      warmLaneQueueName(this.id),
      async (job, _token, signal) => {
        this.warmed.push(job.data);
        const outcome = await warm(job.data, signal);
        if (outcome === 'lie') return;
        const { model, version, shapeKey } = job.data;
        const over = { id: newId(), model, version, shapeKey, worker: this.id, epoch: this.epoch };
        if (outcome === 'ready') {
          await lanes.ready(readyDoc(over), shapeKey);
          return;
        }
        const { code, message } = WarmlaneError.from(outcome);
        await lanes.put(laneDoc({ ...over, state: 'FAILED', reason: message }));
        throw new UnrecoverableError(JSON.stringify(new WarmlaneError(code, message).toBody()));
      },
      { redis: this.redis, settings: WARMUP_SETTINGS, concurrency: 8, holder: this.id },
    );
    this.#workers.push(worker);
    await worker.waitUntilReady();
  }

  async consume(queue: string): Promise<void> {
    const worker = createWorker<ClassJob, void>(queue, (job) => this.#process(job.data), {
      redis: this.redis,
      settings: { ...SERVING_SETTINGS, ...this.options.settings },
      concurrency: this.options.concurrency ?? 16,
      holder: this.id,
    });
    this.#workers.push(worker);
    await worker.waitUntilReady();
  }

  /** As when its runtime was replaced: alive, in the next epoch. */
  async renew(): Promise<void> {
    this.epoch = await this.#store.nextEpoch(this.id, this.epoch);
    await this.#store.heartbeat(this.id, this.epoch);
  }

  /** As kill -9 leaves it. */
  async die(): Promise<void> {
    this.#dead = true;
    if (this.#beat !== null) clearInterval(this.#beat);
    this.redis.disconnect();
    await Promise.all(this.#workers.map((worker) => worker.close(true)));
  }

  async stop(): Promise<void> {
    if (this.#beat !== null) clearInterval(this.#beat);
    await Promise.all(this.#workers.map((worker) => worker.close(true)));
    this.redis.disconnect();
  }

  /** What the worker's serving part does around a run. */
  async #process(job: ClassJob): Promise<void> {
    if (job.repeat && (await this.#replies.exists(job.request))) {
      this.skipped.push(job);
      return;
    }
    this.runs.push(job);
    try {
      await this.options.before?.(job);
      if (this.#dead) return await new Promise<never>(() => undefined);
      await this.#answer(job);
    } catch (error) {
      const { code, message, hint, retryable } = WarmlaneError.from(error);
      const head = { ok: false as const, error: { code, message, hint, retryable } };
      await this.#replies.answer(job.request, job.producer, head);
    }
  }

  async #answer(job: ClassJob): Promise<void> {
    const [input] = job.inputs;
    if (input === undefined) throw new WarmlaneError('internal', 'a job without inputs');
    const data =
      input.blob === undefined ? Buffer.from(input.base64 ?? '', 'base64') : await this.#blobs.get(input.blob);
    if (data === null) throw new WarmlaneError('tensor-gone', `input '${input.name}' is gone`, 'Send it again.');
    const inline = data.byteLength <= 64 * 1024;
    const blob = inline ? null : await this.#blobs.put(data, job.answerBlobTtlMs ?? 60_000);
    await this.#replies.answer(
      job.request,
      job.producer,
      {
        ok: true,
        lane: 'ready',
        shapeKey: job.shapeKey,
        worker: this.id,
        ...(this.options.proof === undefined ? {} : { proof: this.options.proof }),
        timing: { queueMs: 1, gatherMs: 0, copyMs: 0, computeMs: 1 },
        outputs: [{ name: 'y', dtype: 'float32', dims: input.dims, bytes: data.byteLength, blob }],
      },
      [inline ? data : null],
    );
  }
}
