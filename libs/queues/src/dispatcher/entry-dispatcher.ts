import { setTimeout as delay } from 'node:timers/promises';
import {
  DEFAULT_INFER_DEADLINE_MS,
  DEFAULT_PRIORITY,
  DEFAULT_WARMUP_DEADLINE_MS,
  type EntryInferResult,
  entryInferJobSchema,
  newId,
  parseErrorBody,
  WarmlaneError,
  type WarmupView,
} from '@warmlane/contracts';
import { type Answer, type BlobStore, INFERENCE_QUEUE, type RedisLogger, WARMUP_QUEUE } from '@warmlane/redis';
import { type Job, UnrecoverableError, type Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { boundEvents } from '../bound-events.js';
import { closeWithin } from '../close-within.js';
import type { Producer } from '../producer/producer.js';
import { createQueue, createWorker, type Processor, type TypedQueue } from '../queue.factory.js';
import {
  ANSWER_BLOB_TTL_MS,
  ENTRY_COMPLETED_KEPT_MS,
  ENTRY_CONCURRENCY,
  ENTRY_EVENTS_KEPT,
  ENTRY_FAILED_KEPT_MS,
  ENTRY_SETTINGS,
} from '../settings.js';
import type { WarmupCoordinator } from '../warmup/warmup-coordinator.js';
import { blobsOf, type InferForm, parseInferJob, parseWarmJob, toEntryResult } from './entry-form.js';
import { type FirstLoadPort, StillLoadingError } from './first-load.port.js';
import { type InferProgress, readInferProgress, readWarmProgress, requestOf } from './job-progress.js';

/**
 * BullMQ removes old jobs only when another one ends; after a burst this does it. The event streams are cut here as well:
 * a bare client's Queue sets them to BullMQ's 10,000 entries, each end with its answer of up to 64 kB inside.
 */
const SWEEP_EVERY_MS = 30_000;
const SWEEP_AT_ONCE = 1_000;

/** While Redis is away a job is tried again so often: it was accepted when it was added. */
const AWAY_RETRY_MS = 250;

/** While no worker has finished its first load, a job for a name that nobody registered is tried again so often. */
const LOADING_RETRY_MS = 500;

export interface EntryDispatcherOptions {
  /** Not closed by the dispatcher. */
  redis: Redis;
  producer: Producer;
  coordinator: WarmupCoordinator;
  /** Who adds a job cannot ask again by itself: one for a model that is still being read waits here. */
  firstLoad: FirstLoadPort;
  /** Where inputs of jobs lie. */
  blobs: BlobStore;
  /** Told of each inference that ended here. */
  onServed?: (served: ServedEntry) => void;
  onFailed?: (failed: FailedEntry) => void;
  logger?: RedisLogger;
  /** Between the removals of old jobs and events, ms; 30 s by default. */
  sweepEveryMs?: number;
}

type EntryWorker = Worker<unknown, unknown, string>;

/** An inference of the entry queue that was answered. */
interface ServedEntry extends Pick<EntryInferResult, 'lane' | 'timing'> {
  model: string;
  /** Null where an earlier dispatcher sent it, and the job names none. */
  version: string | null;
  items: number;
}

/** One that failed. */
interface FailedEntry {
  code: WarmlaneError['code'];
  /** As the job says; null where it is not of our form. */
  model: string | null;
  version: string | null;
  /** From the dispatcher's first sight. */
  elapsedMs: number;
}

/**
 * Serves the entry queues, which producers in any language add to. A job stays active until it is answered; if the
 * dispatcher dies, another one gets the job and joins the same request.
 */
export class EntryDispatcher {
  readonly #options: EntryDispatcherOptions;
  readonly #holder = newId();
  readonly #closing = new AbortController();
  /** Until the job's end is confirmed: only then it counts. */
  readonly #served = new WeakMap<object, ServedEntry>();
  #workers: EntryWorker[] = [];
  #queues: TypedQueue<unknown>[] = [];
  #timer: NodeJS.Timeout | null = null;

  constructor(options: EntryDispatcherOptions) {
    this.#options = options;
  }

  /** Producer and coordinator must have been started. */
  async start(): Promise<void> {
    const infer = this.#work(INFERENCE_QUEUE, (job, _token, signal) => this.#infer(job, signal));
    const warm = this.#work(WARMUP_QUEUE, (job, _token, signal) => this.#warm(job, signal));
    infer.on('completed', (job) => {
      this.#unlinkInputs(job);
      const served = this.#served.get(job);
      if (served !== undefined) this.#options.onServed?.(served);
    });
    infer.on('failed', (job, error) => {
      if (job?.finishedOn === undefined) return;
      this.#unlinkInputs(job);
      this.#options.onFailed?.(failedEntry(job, error));
    });
    this.#workers = [infer, warm];
    const { redis } = this.#options;
    this.#queues = [INFERENCE_QUEUE, WARMUP_QUEUE].map((name) => createQueue<unknown>(name, { redis, readOnly: true }));
    this.#timer = setInterval(() => this.#sweep(), this.#options.sweepEveryMs ?? SWEEP_EVERY_MS);
    this.#timer.unref();
    await Promise.all(this.#workers.map((worker) => worker.waitUntilReady()));
  }

  /** Leaves the jobs under way to the next dispatcher, which gets them when their locks end (5 s). Idempotent. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    const workers = this.#workers.splice(0);
    const closed = workers.map((worker) => worker.close(true));
    this.#closing.abort();
    await closeWithin([...closed, ...this.#queues.splice(0).map((queue) => queue.close())]);
  }

  #work(queue: string, processor: Processor<unknown, unknown>): EntryWorker {
    const { redis, logger } = this.#options;
    return createWorker<unknown, unknown>(
      queue,
      async (job, token, signal) => {
        try {
          return await processor(job, token, signal);
        } catch (error) {
          throw toJobError(error);
        }
      },
      {
        redis,
        settings: ENTRY_SETTINGS,
        concurrency: ENTRY_CONCURRENCY,
        holder: this.#holder,
        eventsKept: ENTRY_EVENTS_KEPT,
        onError: (name, error) =>
          logger?.warn({ queue: name, error: error.message }, 'an entry queue reports an error'),
      },
    );
  }

  async #infer(job: Job<unknown>, signal: AbortSignal | undefined): Promise<EntryInferResult> {
    const startedAt = performance.now();
    const form = parseInferJob(job.name, job.data);
    const deadlineMs = form.job.deadlineMs ?? DEFAULT_INFER_DEADLINE_MS;
    const request = requestOf(job);
    let seen = readInferProgress(job.progress, request);
    for (;;) {
      try {
        const leftMs = () => deadlineMs - (performance.now() - startedAt);
        const { version, answer } = await this.#onceLoaded(leftMs, () =>
          this.#answer(job, form, request, seen, leftMs(), signal),
        );
        const result = toEntryResult(answer, performance.now() - startedAt);
        const { lane, timing } = result;
        this.#served.set(job, { model: form.job.model, version, lane, timing, items: itemsOf(answer) });
        return result;
      } catch (error) {
        if (!(error instanceof WarmlaneError) || error.code !== 'redis-away') throw error;
        if (performance.now() - startedAt > deadlineMs) throw error;
        // The job was accepted when it was added: it waits for Redis, and then joins what it began.
        await delay(AWAY_RETRY_MS);
        seen = readInferProgress(job.progress, request);
      }
    }
  }

  /** Tried again while the model may still be read; at the deadline that is what it fails with. */
  async #onceLoaded<T>(leftMs: () => number, work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await this.#options.firstLoad.during(work);
      } catch (error) {
        if (!(error instanceof StillLoadingError) || leftMs() <= LOADING_RETRY_MS) throw error;
        await delay(LOADING_RETRY_MS, undefined, { signal: this.#closing.signal });
      }
    }
  }

  async #answer(
    job: Job<unknown>,
    { job: { model, version, outputs, priority }, inputs }: InferForm,
    request: string,
    seen: InferProgress | null,
    deadlineMs: number,
    signal: AbortSignal | undefined,
  ): Promise<{ version: string | null; answer: Answer }> {
    const { producer } = this.#options;
    const known = seen === null ? null : await producer.findAnswer(request);
    if (known !== null) return { version: version ?? null, answer: known };
    const submitted = await producer.submit({
      model,
      version: version ?? null,
      inputs,
      outputs: outputs ?? null,
      deadlineMs,
      priority: priority ?? DEFAULT_PRIORITY,
      signal: signal ?? null,
      answerBlobTtlMs: ANSWER_BLOB_TTL_MS,
      resume: {
        request,
        deadlineAt: seen?.deadlineAt ?? null,
        queue: seen?.queue ?? null,
        again: seen !== null,
        onRouted: async (queue, deadlineAt) => {
          const progress: InferProgress = { request, queue, deadlineAt };
          if (seen === null) await job.updateProgress(progress);
        },
      },
    });
    return submitted;
  }

  async #warm(job: Job<unknown>, signal: AbortSignal | undefined): Promise<WarmupView> {
    const { v: _version, ...input } = parseWarmJob(job.name, job.data);
    const { coordinator } = this.#options;
    let id = readWarmProgress(job.progress);
    if (id === null) {
      const giveUpAt = performance.now() + (input.deadlineMs ?? DEFAULT_WARMUP_DEADLINE_MS);
      const leftMs = () => giveUpAt - performance.now();
      ({ id } = await this.#onceLoaded(leftMs, () => coordinator.create(input)));
      await job.updateProgress({ warmup: id });
    }
    const until = signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    return await coordinator.finished(id, until);
  }

  /** Finished jobs and events that have been kept long enough. A bare client's `Queue` has set 10,000 events when it was made. */
  #sweep(): void {
    const kept = { completed: ENTRY_COMPLETED_KEPT_MS, failed: ENTRY_FAILED_KEPT_MS };
    for (const queue of this.#queues) {
      Promise.all([boundEvents(queue, ENTRY_EVENTS_KEPT), queue.trimEvents(ENTRY_EVENTS_KEPT)]).catch(
        (error: unknown) => {
          this.#options.logger?.warn({ queue: queue.name, error: String(error) }, 'old events could not be removed');
        },
      );
      for (const state of ['completed', 'failed'] as const) {
        queue.clean(kept[state], SWEEP_AT_ONCE, state).catch((error: unknown) => {
          this.#options.logger?.warn({ queue: queue.name, error: String(error) }, 'old jobs could not be removed');
        });
      }
    }
  }

  /** The answer is given: nobody needs the inputs again. */
  #unlinkInputs(job: Job<unknown>): void {
    for (const blob of blobsOf(job.data)) {
      this.#options.blobs.unlink(blob).catch((error: unknown) => {
        this.#options.logger?.warn({ error: String(error) }, 'an input could not be deleted; it expires by itself');
      });
    }
  }
}

function itemsOf({ head }: Answer): number {
  return head.ok ? (head.items ?? 1) : 1;
}

function failedEntry({ data, processedOn, finishedOn }: Job<unknown>, error: Error): FailedEntry {
  const elapsedMs = Math.max(0, (finishedOn ?? 0) - (processedOn ?? finishedOn ?? 0));
  const parsed = entryInferJobSchema.safeParse(data);
  const { model = null, version = null } = parsed.success ? parsed.data : {};
  return { code: parseErrorBody(error.message)?.code ?? 'internal', model, version, elapsedMs };
}

/**
 * The error whose text becomes the job's `failedReason`: the JSON of the error body. One that can never succeed ends the
 * job whatever attempts its producer allowed.
 */
function toJobError(thrown: unknown): Error {
  const error = WarmlaneError.from(thrown);
  const text = JSON.stringify(error.toBody());
  return error.retryable ? new Error(text, { cause: thrown }) : new UnrecoverableError(text);
}
