import type { Redis } from 'ioredis';
import { keys } from './keys.js';
import { STATS_TTL_MS } from './lifetimes.js';
import type { RedisLogger } from './logger.js';

const FLUSH_EVERY_MS = 1_000;

/** One answered or failed request. Times in ns. */
export interface RequestSample {
  ok: boolean;
  /** Inferences in it: the size of its batch axis, or 1. */
  items: number;
  /** From acceptance to the answer. */
  totalNs: number;
  queueNs: number;
  computeInputNs: number;
  computeInferNs: number;
  computeOutputNs: number;
}

/** One run of a model. Times in ns. */
export interface ExecutionSample {
  batchSize: number;
  computeInputNs: number;
  computeInferNs: number;
  computeOutputNs: number;
}

export interface Duration {
  count: number;
  ns: number;
}

/** In the statistics extension's own words. */
export interface ModelStats {
  inferenceCount: number;
  executionCount: number;
  /** ms since 1970; 0 where none was. */
  lastInference: number;
  success: Duration;
  fail: Duration;
  queue: Duration;
  computeInput: Duration;
  computeInfer: Duration;
  computeOutput: Duration;
  batches: { batchSize: number; computeInput: Duration; computeInfer: Duration; computeOutput: Duration }[];
}

interface Pending {
  model: string;
  version: string;
  lastInference: number;
  counts: Map<string, number>;
}

/**
 * Statistics per model version. Samples are summed in the process and written once a second, so that a request costs no
 * command; what a process has not written when it dies is lost.
 */
export class StatsStore {
  readonly #redis: Redis;
  readonly #logger: RedisLogger | null;
  readonly #pending = new Map<string, Pending>();
  #timer: NodeJS.Timeout | null;
  #flushing: Promise<void> = Promise.resolve();

  constructor(redis: Redis, logger?: RedisLogger) {
    this.#redis = redis;
    this.#logger = logger ?? null;
    this.#timer = setInterval(() => this.#onTimer(), FLUSH_EVERY_MS);
    this.#timer.unref();
  }

  /** Counts one request; by whoever answers the client. */
  request(model: string, version: string, sample: RequestSample): void {
    const pending = this.#of(model, version);
    add(pending, sample.ok ? 'success' : 'fail', sample.totalNs);
    if (!sample.ok) return;
    pending.lastInference = Date.now();
    increase(pending, 'inference_count', sample.items);
    add(pending, 'queue', sample.queueNs);
    add(pending, 'compute_input', sample.computeInputNs);
    add(pending, 'compute_infer', sample.computeInferNs);
    add(pending, 'compute_output', sample.computeOutputNs);
  }

  /** Counts one execution; by the worker that ran it. */
  execution(model: string, version: string, sample: ExecutionSample): void {
    const pending = this.#of(model, version);
    increase(pending, 'execution_count', 1);
    const batch = `batch:${sample.batchSize}:`;
    add(pending, `${batch}compute_input`, sample.computeInputNs);
    add(pending, `${batch}compute_infer`, sample.computeInferNs);
    add(pending, `${batch}compute_output`, sample.computeOutputNs);
  }

  /** Writes what was counted since the last time. */
  async flush(): Promise<void> {
    const flushing = this.#flushing.then(() => this.#write());
    this.#flushing = flushing.catch(() => undefined);
    await flushing;
  }

  async get(model: string, version: string): Promise<ModelStats> {
    return toStats(await this.#redis.hgetall(keys.stats(model, version)));
  }

  /** Writes the rest and stops. */
  async close(): Promise<void> {
    if (this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
    await this.flush();
  }

  #of(model: string, version: string): Pending {
    const key = keys.stats(model, version);
    let pending = this.#pending.get(key);
    if (pending === undefined) {
      pending = { model, version, lastInference: 0, counts: new Map() };
      this.#pending.set(key, pending);
    }
    return pending;
  }

  #onTimer(): void {
    if (this.#pending.size === 0) return;
    this.flush().catch((error: unknown) =>
      this.#logger?.warn({ error: String(error) }, 'statistics were not written; their counts are lost'),
    );
  }

  async #write(): Promise<void> {
    const all = Array.from(this.#pending);
    if (all.length === 0) return;
    this.#pending.clear();
    const pipeline = this.#redis.pipeline();
    for (const [key, { counts, lastInference }] of all) {
      for (const [field, count] of counts) pipeline.hincrby(key, field, Math.round(count));
      if (lastInference > 0) pipeline.hset(key, 'last_inference', lastInference);
      pipeline.pexpire(key, STATS_TTL_MS);
    }
    const results = await pipeline.exec();
    const failed = results?.find(([error]) => error !== null)?.[0];
    if (failed !== undefined && failed !== null) throw failed;
  }
}

function increase(pending: Pending, field: string, by: number): void {
  pending.counts.set(field, (pending.counts.get(field) ?? 0) + by);
}

function add(pending: Pending, field: string, ns: number): void {
  increase(pending, `${field}:count`, 1);
  increase(pending, `${field}:ns`, Math.max(0, ns));
}

function toStats(fields: Record<string, string>): ModelStats {
  const number = (field: string): number => Number(fields[field] ?? '0');
  const duration = (field: string): Duration => ({ count: number(`${field}:count`), ns: number(`${field}:ns`) });
  const sizes = new Set<number>();
  for (const field of Object.keys(fields)) {
    const size = /^batch:([0-9]+):/.exec(field)?.[1];
    if (size !== undefined) sizes.add(Number(size));
  }
  return {
    inferenceCount: number('inference_count'),
    executionCount: number('execution_count'),
    lastInference: number('last_inference'),
    success: duration('success'),
    fail: duration('fail'),
    queue: duration('queue'),
    computeInput: duration('compute_input'),
    computeInfer: duration('compute_infer'),
    computeOutput: duration('compute_output'),
    batches: Array.from(sizes)
      .sort((a, b) => a - b)
      .map((batchSize) => ({
        batchSize,
        computeInput: duration(`batch:${batchSize}:compute_input`),
        computeInfer: duration(`batch:${batchSize}:compute_infer`),
        computeOutput: duration(`batch:${batchSize}:compute_output`),
      })),
  };
}
