import {
  type ClassJob,
  DEFAULT_INFER_DEADLINE_MS,
  DEFAULT_PRIORITY,
  isErrorCode,
  type LaneServed,
  type NamedTensor,
  newId,
  type Timing,
  WarmlaneError,
} from '@warmlane/contracts';
import {
  type Answer,
  BlobStore,
  ClassStore,
  Holders,
  Liveness,
  ModelStore,
  Notices,
  Outage,
  RedisClock,
  type RedisLogger,
  ReplyReader,
  ReplyStore,
} from '@warmlane/redis';
import { HeldTensor, type SharedMemory } from '@warmlane/shm';
import type { Redis } from 'ioredis';
import { closeWithin } from '../close-within.js';
import { QueueCache } from '../queue-cache.js';
import { HTTP_ANSWER_BLOB_TTL_MS } from '../settings.js';
import { CLASS_LIMIT, type ClassLimit, ClassLimits } from './class-limits.js';
import { HolderWatch } from './holder-watch.js';
import { InputBlobs } from './input-blobs.js';
import { ModelCache, type ServableModel } from './model-cache.js';
import { Patience } from './patience.js';
import { PendingRequests } from './pending.js';
import { RouteChoice } from './route-choice.js';
import { RouteTable } from './route-table.js';
import { SharedTensors, type TensorWay } from './shared-tensors.js';
import type { Submission } from './submission.js';
import { type Submitted, Submitter } from './submitter.js';
import { WaitForecast } from './wait-forecast.js';

/** One inference. */
export interface InferRequest {
  model: string;
  /** Left out: the model's default version. */
  version?: string;
  inputs: readonly NamedTensor[];
  /** Left out: all, in the model's order. */
  outputs?: readonly string[];
  /** ms from now, default 30,000. */
  deadlineMs?: number;
  /** 0 to 9, 0 first; default 5. */
  priority?: number;
  /** Aborted: the job is removed if it has not begun, and the call rejects with `canceled`. */
  signal?: AbortSignal;
  /** Outputs in shared memory come as `HeldTensor`, which the caller must free. Default: false, as bytes. */
  holdOutputs?: boolean;
}

export interface InferAnswer {
  model: string;
  version: string;
  lane: LaneServed;
  /** The request's own key. */
  shapeKey: string;
  /** Size of its batch axis; 1 where the model has none. */
  items: number;
  /** Who served it. */
  worker: string;
  timing: Timing;
  outputs: NamedTensor[];
}

export interface ProducerOptions {
  /** Connection of the queues and of every small command; not closed by the producer. */
  redis: Redis;
  /** Connection of large tensors: another one than `redis`, of the same or of another Redis. Not closed by the producer. */
  blobRedis: Redis;
  /** True where both lead to the same Redis: then small blobs travel ahead of their job on one socket. */
  sameRedis: boolean;
  /** Most bytes that tensors in flight may take together. */
  blobLimitBytes: number;
  /** What may wait for one shape class; {@link CLASS_LIMIT} by default. */
  classLimit?: ClassLimit;
  /** For large tensors of `infer` and its answers, with workers of the same host. Not closed by the producer. */
  memory?: SharedMemory;
  /** Told how each tensor went that was too large for its job or answer. */
  onTensor?: (way: TensorWay) => void;
  logger?: RedisLogger;
}

/** Sends inferences through the queues and brings their answers back. One per process: it has a reply stream of its own. */
export class Producer {
  readonly id = newId();
  readonly #options: ProducerOptions;
  readonly #outage: Outage;
  readonly #pending = new PendingRequests();
  readonly #clock: RedisClock;
  readonly #liveness: Liveness;
  readonly #notices: Notices;
  readonly #replyStore: ReplyStore;
  readonly #replies: ReplyReader;
  readonly #blobs: BlobStore;
  readonly #queues: QueueCache<ClassJob>;
  readonly #models: ModelCache;
  readonly #routes: RouteTable;
  readonly #watch: HolderWatch;
  readonly #submitter: Submitter;
  readonly #shared: SharedTensors | null;
  readonly #onUp = (): void => this.#background(this.#recover(), 'looking after requests in flight failed');
  #closed = false;

  constructor(options: ProducerOptions) {
    const { redis, blobRedis, logger } = options;
    const budget = { limitBytes: options.blobLimitBytes };
    this.#options = options;
    this.#outage = Outage.of(redis);
    this.#clock = new RedisClock(redis);
    this.#liveness = new Liveness(redis);
    this.#notices = new Notices(redis, logger);
    this.#replyStore = new ReplyStore(redis, logger);
    this.#replies = new ReplyReader(redis, this.#replyStore, this.id, logger);
    this.#blobs = new BlobStore(blobRedis, redis, budget);
    this.#queues = new QueueCache<ClassJob>({
      redis,
      onError: (queue, error) => logger?.warn({ queue, error: error.message }, 'a queue reports an error'),
    });
    this.#models = new ModelCache(new ModelStore(redis));
    this.#routes = new RouteTable(new Holders(redis, this.#liveness), this.#liveness, new ClassStore(redis));
    const near = options.sameRedis ? new BlobStore(redis, redis, budget) : null;
    this.#watch = new HolderWatch(
      this.#liveness,
      this.#pending,
      (pending) => this.#submitter.repeat(pending),
      (error) => logger?.warn({ error: error.message }, 'looking for dead holders failed; trying again'),
    );
    this.#shared = options.memory === undefined ? null : new SharedTensors(options.memory);
    this.#submitter = new Submitter({
      producer: this.id,
      clock: this.#clock,
      patience: new Patience(redis),
      models: this.#models,
      routes: new RouteChoice(this.#routes),
      queues: this.#queues,
      limits: new ClassLimits(options.classLimit ?? CLASS_LIMIT),
      forecast: new WaitForecast(),
      blobs: new InputBlobs(near, this.#blobs, (error) =>
        logger?.warn({ error: String(error) }, 'a tensor could not be deleted; it expires by itself'),
      ),
      replies: this.#replies,
      pending: this.#pending,
      shared: this.#shared,
      onTensor: (way) => options.onTensor?.(way),
      onAccepted: () => this.#watch.earn(),
      onAbandoned: (request) =>
        this.#background(
          this.#notices.publish({ kind: 'abandon', request }),
          'a worker was not told of a sender that left',
        ),
    });
  }

  /** Resolves when the producer can send; while Redis is away it waits for it. */
  async start(): Promise<void> {
    this.#outage.on('up', this.#onUp);
    this.#watch.start();
    await this.#clock.sync();
    await this.#notices.subscribe((notice) => {
      if (notice.kind === 'model') this.#models.forget();
      else if (notice.kind === 'worker' || (notice.kind === 'lane' && notice.class !== null)) this.#routes.forget();
    });
    this.#notices.onResync(() => {
      this.#models.forget();
      this.#routes.forget();
    });
  }

  /** The version that serves, from a cache; errors as {@link ModelCache.get}. */
  async resolve(model: string, version: string | null): Promise<ServableModel> {
    return this.#models.get(model, version);
  }

  /**
   * Rejects with what the worker answered, or `bad-request`, `unknown-model`, `unknown-version`, `not-ready`,
   * `overloaded`, `redis-away` (not accepted), `deadline-exceeded`, `canceled`, `tensor-gone`.
   */
  async infer(request: InferRequest): Promise<InferAnswer> {
    const startedAt = performance.now();
    const hold = request.holdOutputs === true;
    const submission: Submission = {
      model: request.model,
      version: request.version ?? null,
      inputs: request.inputs,
      outputs: request.outputs ?? null,
      deadlineMs: request.deadlineMs ?? DEFAULT_INFER_DEADLINE_MS,
      priority: request.priority ?? DEFAULT_PRIORITY,
      signal: request.signal ?? null,
      answerBlobTtlMs: HTTP_ANSWER_BLOB_TTL_MS,
      resume: null,
      sharesMemory: true,
    };
    try {
      return await this.#inferOnce(submission, startedAt, hold);
    } catch (error) {
      // Its worker may have died with the answer in its memory: a run again changes nothing but the time.
      const leftMs = submission.deadlineMs - (performance.now() - startedAt);
      if (!(error instanceof WarmlaneError) || error.code !== 'tensor-gone' || this.#shared === null) throw error;
      return await this.#inferOnce({ ...submission, sharesMemory: false, deadlineMs: leftMs }, startedAt, hold);
    }
  }

  async #inferOnce(submission: Submission, startedAt: number, hold: boolean): Promise<InferAnswer> {
    const { model, version, answer } = await this.submit(submission);
    const head = successOf(answer);
    const outputs = await this.#outputs(head.outputs, answer.inline, hold);
    return {
      model,
      version,
      lane: head.lane,
      shapeKey: head.shapeKey,
      items: head.items ?? 1,
      worker: head.worker,
      timing: { ...head.timing, totalMs: performance.now() - startedAt },
      outputs,
    };
  }

  /** As {@link infer}, without reading output blobs: whoever asked hands them on or reads them. */
  async submit(submission: Submission): Promise<Submitted> {
    if (this.#closed) throw closing();
    return this.#submitter.submit(submission);
  }

  /** An answer that was written already, for a request that may be a second run of an earlier one. */
  async findAnswer(request: string): Promise<Answer | null> {
    const [answer] = await this.#replyStore.read([request]);
    return answer ?? null;
  }

  /** Requests that wait for their answer. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** Rejects what is in flight and closes the producer's own connections. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#outage.off('up', this.#onUp);
    this.#watch.stop();
    for (const pending of this.#pending.all()) this.#pending.fail(pending, closing());
    this.#notices.close();
    this.#liveness.close();
    this.#clock.close();
    await closeWithin([this.#replies.close(), this.#queues.close()]);
  }

  async #outputs(heads: HeadOutput[], inline: (Buffer | null)[], hold: boolean): Promise<NamedTensor[]> {
    const all = await Promise.allSettled(heads.map((output, at) => this.#output(output, inline[at] ?? null, hold)));
    const failed = all.find((one) => one.status === 'rejected');
    const outputs = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    if (failed === undefined) return outputs;
    for (const output of outputs) if (output instanceof HeldTensor) output.held.free();
    throw failed.reason;
  }

  async #output(output: HeadOutput, inline: Buffer | null, hold: boolean): Promise<NamedTensor> {
    const { name, dtype, dims, blob, slot } = output;
    if (inline !== null) return { name, dtype, dims, data: inline };
    this.#options.onTensor?.({ way: slot === undefined ? 'redis' : 'memory', direction: 'out' });
    if (slot !== undefined && this.#shared !== null) {
      if (hold) return this.#shared.hold({ name, dtype, dims }, slot);
      return { name, dtype, dims, data: await this.#shared.take(slot) };
    }
    const data = blob === null ? null : await this.#blobs.get(blob);
    if (data === null || blob === null) {
      throw new WarmlaneError(
        'tensor-gone',
        `output '${name}' was gone before it could be delivered`,
        'Send it again.',
      );
    }
    this.#background(this.#blobs.unlink(blob), 'a delivered tensor could not be deleted; it expires by itself');
    return { name, dtype, dims, data };
  }

  /** After an outage: answers that came meanwhile, and jobs that Redis lost with the last second of its file. */
  async #recover(): Promise<void> {
    const BATCH = 100;
    const waiting = this.#pending.all().filter((pending) => pending.accepted);
    for (let at = 0; at < waiting.length; at += BATCH) {
      const batch = waiting.slice(at, at + BATCH);
      const jobs = await Promise.all(batch.map((pending) => pending.queue.getJob(pending.request)));
      const answers = await this.#replyStore.read(batch.map((pending) => pending.request));
      for (const [n, pending] of batch.entries()) {
        const answer = answers[n] ?? null;
        if (answer !== null) this.#pending.settle(pending.request, answer);
        else if (jobs[n] === undefined && this.#pending.has(pending)) await this.#submitter.addAgain(pending);
      }
    }
  }

  #background(work: Promise<unknown>, message: string): void {
    work.catch((error: unknown) => this.#options.logger?.warn({ error: String(error) }, message));
  }
}

type Success = Extract<Answer['head'], { ok: true }>;
type HeadOutput = Success['outputs'][number];

/** The head of a successful answer; throws the error of a failed one. */
export function successOf(answer: Answer): Success {
  const { head } = answer;
  if (head.ok) return head;
  const { code, message, hint } = head.error;
  throw isErrorCode(code) ? new WarmlaneError(code, message, hint) : new WarmlaneError('internal', message, hint);
}

function closing(): WarmlaneError {
  return new WarmlaneError(
    'not-ready',
    'this process is closing',
    'Send the request again: another instance takes it.',
  );
}
