import { setTimeout as delay } from 'node:timers/promises';
import {
  type BlobRef,
  DEFAULT_INFER_DEADLINE_MS,
  DEFAULT_WARMUP_DEADLINE_MS,
  type EntryInferJob,
  type EntryInferResult,
  type EntryWarmJob,
  newId,
  parseErrorBody,
  WarmlaneError,
  type WarmupView,
} from '@warmlane/contracts';
import {
  BlobStore,
  createRedis,
  duplicateRedis,
  INFERENCE_QUEUE,
  type RedisLogger,
  WARMUP_QUEUE,
} from '@warmlane/redis';
import { SharedMemory } from '@warmlane/shm';
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { closeWithin } from '../close-within.js';
import { INFER_JOB, WARM_JOB } from '../dispatcher/entry-form.js';
import { Patience } from '../producer/patience.js';
import { type InferAnswer, type InferRequest, Producer } from '../producer/producer.js';
import { checkSubmission } from '../producer/submission.js';
import { createQueue, type QueueErrorListener, type TypedQueue } from '../queue.factory.js';
import { BLOB_MARGIN_MS, ENTRY_EVENTS_KEPT } from '../settings.js';
import type { WarmupInput } from '../warmup/warmup-request.js';
import { fromEntryTensors, toEntryTensors } from './entry-tensors.js';

/** Tensors in flight of all producers together, unless the client is told otherwise. */
const BLOB_LIMIT_BYTES = 2 * 2 ** 30;
const SHARED_MEMORY_DIR = '/dev/shm';
const POLL_FIRST_MS = 50;
const POLL_LAST_MS = 500;
/** Whoever dispatches a warm-up ends it at its deadline; a job that is open so much longer was dispatched by nobody. */
const DISPATCH_GRACE_MS = 15_000;

export interface WarmlaneClientOptions {
  /** `redis://HOST:PORT`, or a client, which is not closed then. */
  redis: string | Redis;
  /** Where tensors lie, if not in the same Redis: what the servers have as WARMLANE_BLOB_REDIS. */
  blobRedis?: string | Redis;
  /** Most bytes that tensors in flight may take together; as the servers have it. Default 2 GiB. */
  blobLimitBytes?: number;
  /**
   * For a service on the workers' host: tensors of 64 KiB and more go through this tmpfs, of which it takes `limitBytes` at most
   * (default a quarter, 1 GiB at most). Workers that do not see the same tmpfs as the same user get them through Redis.
   */
  sharedMemory?: { dir?: string; limitBytes?: number };
  logger?: RedisLogger;
}

/** What an asynchronous inference came to. */
export type AsyncAnswer = Pick<InferAnswer, 'lane' | 'shapeKey' | 'timing' | 'outputs'>;

/** For other services: warm up, infer, infer asynchronously, without HTTP. Errors are WarmlaneErrors with a code. */
export class WarmlaneClient implements AsyncDisposable {
  readonly #producer: Producer;
  readonly #blobs: BlobStore;
  readonly #patience: Patience;
  readonly #inferences: TypedQueue<EntryInferJob, EntryInferResult>;
  readonly #warmups: TypedQueue<EntryWarmJob, WarmupView>;
  readonly #own: Redis[] = [];
  readonly #memory: SharedMemory | undefined;
  #closed = false;

  /** Use {@link connect}. */
  private constructor(options: WarmlaneClientOptions) {
    const { logger } = options;
    const redis = this.#open(options.redis, 'client', logger);
    const blobRedis = this.#openBlobs(redis, options);
    const limitBytes = options.blobLimitBytes ?? BLOB_LIMIT_BYTES;
    const onError: QueueErrorListener = (queue, error) =>
      logger?.warn({ queue, error: error.message }, 'a queue reports an error');
    const sameRedis = options.blobRedis === undefined;
    this.#memory = memoryOf(options);
    this.#producer = new Producer({
      ...{ redis, blobRedis, sameRedis, blobLimitBytes: limitBytes, logger },
      ...(this.#memory === undefined ? {} : { memory: this.#memory }),
    });
    this.#blobs = new BlobStore(blobRedis, redis, { limitBytes });
    this.#patience = new Patience(redis);
    this.#inferences = createQueue(INFERENCE_QUEUE, { redis, onError, eventsKept: ENTRY_EVENTS_KEPT });
    this.#warmups = createQueue(WARMUP_QUEUE, { redis, onError, eventsKept: ENTRY_EVENTS_KEPT });
  }

  /** Resolves when the client can send; while Redis is away it waits for it. */
  static async connect(options: WarmlaneClientOptions): Promise<WarmlaneClient> {
    const client = new WarmlaneClient(options);
    await client.#producer.start();
    return client;
  }

  /** As {@link Producer.infer}: straight to the lane's queue, the answer when it is there. */
  async infer(request: InferRequest): Promise<InferAnswer> {
    return this.#producer.infer(request);
  }

  /**
   * Accepts an inference that survives this process: ask for its {@link result} by the id, from any process. Rejects what
   * does not fit the model at once, as {@link infer} does.
   */
  async inferAsync(request: Omit<InferRequest, 'signal'>): Promise<{ id: string }> {
    this.#patience.refuseIfAway();
    const { model, version, outputs, deadlineMs, priority } = request;
    const { metadata } = await this.#patience.within(this.#producer.resolve(model, version ?? null));
    checkSubmission(metadata, request.inputs);
    const ttlMs = (deadlineMs ?? DEFAULT_INFER_DEADLINE_MS) + BLOB_MARGIN_MS;
    const written: BlobRef[] = [];
    const id = newId();
    try {
      const inputs = await toEntryTensors(request.inputs, async (data) => {
        const ref = await this.#patience.within(this.#blobs.put(data, ttlMs));
        written.push(ref);
        return ref;
      });
      const optional = { version, outputs: outputs === undefined ? undefined : [...outputs], deadlineMs, priority };
      const data: EntryInferJob = { v: 1, model, inputs, ...optional };
      await this.#patience.within(this.#inferences.add(INFER_JOB, data, { jobId: id }));
      return { id };
    } catch (error) {
      await Promise.allSettled(written.map((ref) => this.#blobs.unlink(ref)));
      throw error;
    }
  }

  /**
   * The answer of {@link inferAsync}; null while it runs. Kept for 60 s after the end. Rejects with the inference's own
   * error, and with `not-found` for an id that is unknown or kept no longer.
   */
  async result(id: string): Promise<AsyncAnswer | null> {
    this.#patience.refuseIfAway();
    const job = await this.#patience.within(this.#inferences.getJob(id));
    if (job === undefined) {
      throw new WarmlaneError('not-found', `no inference ${id}`, 'Answers are kept for 60 s after the end.');
    }
    if (job.finishedOn === undefined) return null;
    const { lane, shapeKey, timing, outputs } = returned(job);
    const tensors = await fromEntryTensors(outputs, (ref) => this.#patience.within(this.#blobs.get(ref)));
    return { lane, shapeKey, timing, outputs: tensors };
  }

  /**
   * Warms shapes up and waits for the end, which comes at the deadline at the latest; the view says whether all of them
   * are ready. When the signal is aborted it rejects with `canceled`, and a warm-up that has begun goes on.
   */
  async warmUp(request: WarmupInput, { signal }: { signal?: AbortSignal } = {}): Promise<WarmupView> {
    this.#patience.refuseIfAway();
    const jobId = newId();
    await this.#patience.within(this.#warmups.add(WARM_JOB, { v: 1, ...request }, { jobId }));
    const giveUpAt = performance.now() + (request.deadlineMs ?? DEFAULT_WARMUP_DEADLINE_MS) + DISPATCH_GRACE_MS;
    for (let waitMs = POLL_FIRST_MS; ; waitMs = Math.min(2 * waitMs, POLL_LAST_MS)) {
      const job = await this.#look(jobId);
      if (job?.finishedOn !== undefined) return returned(job);
      const stop = stopReason(signal, giveUpAt);
      if (stop !== null) {
        this.#warmups.remove(jobId).catch(() => undefined);
        throw stop;
      }
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Closes what the client opened. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await closeWithin([this.#producer.close(), this.#inferences.close(), this.#warmups.close()]);
    for (const redis of this.#own) redis.disconnect();
    this.#memory?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The job, or null while Redis is away: it was accepted, and is asked for again. */
  async #look(jobId: string): Promise<Job<EntryWarmJob, WarmupView> | null> {
    try {
      return (await this.#patience.within(this.#warmups.getJob(jobId))) ?? null;
    } catch (error) {
      if (error instanceof WarmlaneError && error.code === 'redis-away') return null;
      throw error;
    }
  }

  #open(redis: string | Redis, name: string, logger: RedisLogger | undefined): Redis {
    if (typeof redis !== 'string') return redis;
    const client = createRedis(redis, { name, logger });
    this.#own.push(client);
    return client;
  }

  #openBlobs(redis: Redis, { blobRedis, logger }: WarmlaneClientOptions): Redis {
    if (blobRedis !== undefined) return this.#open(blobRedis, 'client-blobs', logger);
    const client = duplicateRedis(redis, 'client-blobs');
    this.#own.push(client);
    return client;
  }
}

/** What a finished job returned; throws the error of a failed one. */
function returned<Result>(job: Job<unknown, Result>): Result {
  if (job.failedReason === undefined) return job.returnvalue;
  const body = parseErrorBody(job.failedReason);
  if (body !== null) throw WarmlaneError.fromBody(body);
  throw new WarmlaneError('internal', job.failedReason, 'See the log of the API process that had the job.');
}

function stopReason(signal: AbortSignal | undefined, giveUpAt: number): WarmlaneError | null {
  if (signal?.aborted === true) return new WarmlaneError('canceled', 'nobody waits for the warm-up any more');
  if (performance.now() < giveUpAt) return null;
  return new WarmlaneError(
    'deadline-exceeded',
    'the warm-up was not ended by its deadline',
    'Start an API process: it dispatches the queue of warm-ups.',
  );
}

function memoryOf({ sharedMemory, logger }: WarmlaneClientOptions): SharedMemory | undefined {
  if (sharedMemory === undefined) return undefined;
  const { dir = SHARED_MEMORY_DIR, limitBytes = null } = sharedMemory;
  return new SharedMemory({ dir, limitBytes, ...(logger === undefined ? {} : { log: logger }) });
}
