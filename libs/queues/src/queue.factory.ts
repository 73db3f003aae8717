import { PREFIX } from '@warmlane/redis';
import { type Job, type JobsOptions, Queue, type Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { PacedWorker } from './paced-worker.js';
import { DRAIN_DELAY_S, EVENTS_KEPT, RUN_RETRY_DELAY_MS, type WorkerSettings } from './settings.js';

/** Hears errors of queues and workers that are not a lost connection; those are reported once per outage by the client. */
export type QueueErrorListener = (queue: string, error: Error) => void;

export interface QueueOptions {
  /** Shared by any number of queues: a Queue has no connection of its own. */
  redis: Redis;
  onError?: QueueErrorListener;
  defaultJobOptions?: JobsOptions;
  /** Events that the queue keeps; 100 where not said, since ours are read by nobody. */
  eventsKept?: number;
  /** True for one that only looks: it does not write the queue's settings, which would bring a forgotten queue back. */
  readOnly?: boolean;
}

export interface WorkerOptions {
  /** Shared as well; each Worker adds one blocking connection. */
  redis: Redis;
  settings: WorkerSettings;
  concurrency: number;
  /**
   * Id of the worker or process that runs the jobs: BullMQ writes it into each job (`processedBy`), and by it a producer
   * tells whether the holder of its job is still live.
   */
  holder: string;
  onError?: QueueErrorListener;
  /** Events that the queue keeps, as {@link QueueOptions.eventsKept}: set before the first fetch. */
  eventsKept?: number;
  /** False: nothing is fetched before `run()`. */
  autorun?: boolean;
}

/** The third argument makes BullMQ create the abort signal of `cancelJob`; a processor that takes two never gets one. */
export type Processor<Data, Result> = (
  job: Job<Data, Result>,
  token: string | undefined,
  signal: AbortSignal | undefined,
) => Promise<Result>;

/** A queue whose jobs all carry `Data` and return `Result`, whatever their name. */
export type TypedQueue<Data, Result = unknown> = Queue<Data, Result, string, Data, Result, string>;

export function createQueue<Data, Result = unknown>(name: string, options: QueueOptions): TypedQueue<Data, Result> {
  const queue: TypedQueue<Data, Result> = new Queue(name, {
    connection: options.redis,
    prefix: PREFIX,
    streams: { events: { maxLen: options.eventsKept ?? EVENTS_KEPT } },
    skipMetasUpdate: options.readOnly ?? false,
    ...(options.defaultJobOptions === undefined ? {} : { defaultJobOptions: options.defaultJobOptions }),
  });
  listenForErrors(queue, name, options);
  return queue;
}

export function createWorker<Data, Result>(
  name: string,
  processor: Processor<Data, Result>,
  options: WorkerOptions,
): Worker<Data, Result, string> {
  const { settings } = options;
  const worker = new PacedWorker<Data, Result>(name, processor, {
    connection: options.redis,
    prefix: PREFIX,
    name: options.holder,
    concurrency: options.concurrency,
    autorun: options.autorun ?? true,
    drainDelay: DRAIN_DELAY_S,
    runRetryDelay: RUN_RETRY_DELAY_MS,
    lockDuration: settings.lockDuration,
    stalledInterval: settings.stalledInterval,
    maxStalledCount: settings.maxStalledCount,
    maxStartedAttempts: settings.maxStartedAttempts,
    removeOnComplete: settings.removeOnComplete,
    removeOnFail: settings.removeOnFail,
    eventsKept: options.eventsKept ?? EVENTS_KEPT,
  });
  listenForErrors(worker, name, options);
  return worker;
}

/** Codes by which Node reports that the other side is away. */
const CONNECTION_CODES = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EHOSTUNREACH']);

/** A Redis that refuses every write (its disk is full) fails each fetch of each queue with the same words. */
const SAME_ERROR_EVERY_MS = 10_000;

/** Without an `error` listener BullMQ throws; with one per event an outage of 64 queues is a thousand log lines. */
function listenForErrors(
  source: { on(event: 'error', listener: (error: Error) => void): unknown },
  name: string,
  options: { redis: Redis; onError?: QueueErrorListener },
): void {
  const told = { message: '', at: Number.NEGATIVE_INFINITY };
  source.on('error', (error) => {
    const code = 'code' in error ? error.code : undefined;
    const outage = options.redis.status !== 'ready' || (typeof code === 'string' && CONNECTION_CODES.has(code));
    if (outage) return;
    const now = performance.now();
    if (error.message === told.message && now - told.at < SAME_ERROR_EVERY_MS) return;
    told.message = error.message;
    told.at = now;
    options.onError?.(name, error);
  });
}
