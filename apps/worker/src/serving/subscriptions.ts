import type { ClassJob } from '@warmlane/contracts';
import type { CreditLedger } from '@warmlane/lanes';
import { createWorker, type QueueErrorListener, SERVING_SETTINGS, type WorkerSettings } from '@warmlane/queues';
import type { Job, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { LOST_JOB_MS } from './serving.settings.js';

/** BullMQ's own counts would fail jobs that only were in flight when others killed a process: who pays is decided here. */
const SETTINGS: WorkerSettings = { ...SERVING_SETTINGS, maxStalledCount: 1_000, maxStartedAttempts: 1_000 };

type ClassWorker = Worker<ClassJob, void, string>;

/** A queue that this worker consumes, or did. */
interface Subscription {
  readonly queue: string;
  /** Ids of the lanes for which it is consumed. */
  readonly lanes: Set<string>;
  /** Consumed without a lane: a cold queue, or a class queue without a live holder. */
  fallback: boolean;
  worker: ClassWorker | null;
  /** Fetched jobs that BullMQ has not settled yet; with the time their processing ended. */
  readonly jobs: Map<Job<ClassJob, void, string>, number | null>;
  /** Opening and closing, one after the other. */
  last: Promise<void>;
}

export interface SubscriptionsOptions {
  redis: Redis;
  /** Written into each job, so that a producer sees who holds it. */
  worker: string;
  ledger: CreditLedger;
  /** Runs one job to its end. `started` must be called, at once, with how long it lay in its queue. */
  process: (job: Job<ClassJob, void, string>, started: (waitedMs: number) => void) => Promise<void>;
  onError: QueueErrorListener;
}

/**
 * The queues that this worker consumes: one BullMQ Worker each, raised above one job at a time only while the ledger
 * grants it, opened when the first lane is ready and closed before the last one goes.
 */
export class Subscriptions {
  readonly #all = new Map<string, Subscription>();
  #closed = false;

  constructor(private readonly options: SubscriptionsOptions) {}

  /** Queues consumed without a lane. */
  fallbackQueues(): string[] {
    return [...this.#all.values()].filter((one) => one.fallback).map((one) => one.queue);
  }

  /** True if a lane here holds the queue's class. */
  hasLane(queue: string): boolean {
    return (this.#all.get(queue)?.lanes.size ?? 0) > 0;
  }

  hasFallback(queue: string): boolean {
    return this.#all.get(queue)?.fallback ?? false;
  }

  /** Jobs of the queue that are active here. */
  active(queue: string): number {
    return this.#all.get(queue)?.jobs.size ?? 0;
  }

  /** A lane of the class serves: consume its queue, and no longer in fallback mode. */
  async addLane(queue: string, lane: string): Promise<void> {
    const one = this.#get(queue);
    one.lanes.add(lane);
    one.fallback = false;
    await this.#settle(one);
  }

  /**
   * Stops pulling for a lane. `ended` is called, before anything else may consume the queue here, when that is done: if it
   * was the last lane of its class, when the jobs that were fetched for it have ended.
   */
  async removeLane(queue: string, lane: string, ended: () => void): Promise<void> {
    const one = this.#get(queue);
    one.lanes.delete(lane);
    await this.#settle(one, ended);
  }

  /** Consume the queue without a lane. */
  async addFallback(queue: string): Promise<void> {
    const one = this.#get(queue);
    one.fallback = one.lanes.size === 0;
    await this.#settle(one);
  }

  /** A lane went without notice: go on in fallback mode, without a gap, if it was the last of the class. */
  demote(queue: string, lane: string): void {
    const one = this.#all.get(queue);
    if (one === undefined) return;
    one.lanes.delete(lane);
    if (one.lanes.size > 0) return;
    one.fallback = true;
    if (one.worker !== null) this.options.ledger.setFallback(queue, true);
  }

  /** Resolves when the queue is no longer consumed, unless a lane holds it. */
  async removeFallback(queue: string): Promise<void> {
    const one = this.#all.get(queue);
    if (one === undefined) return;
    one.fallback = false;
    await this.#settle(one);
  }

  /** Fetches nothing more; resolves when every job that runs has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#all.values()].map((one) => this.#settle(one)));
  }

  /** Takes back and hands out credit. Call at a macrotask boundary: see CreditLedger. */
  rebalance(now: number): void {
    for (const one of this.#all.values()) {
      for (const [job, endedAt] of one.jobs) {
        if (endedAt !== null && now - endedAt > LOST_JOB_MS) this.#settled(one, job);
      }
    }
    if (!this.options.ledger.unsettled) return;
    for (const [queue, concurrency] of this.options.ledger.rebalance()) {
      const worker = this.#all.get(queue)?.worker;
      if (worker !== undefined && worker !== null) worker.concurrency = concurrency;
    }
  }

  #get(queue: string): Subscription {
    const known = this.#all.get(queue);
    if (known !== undefined) return known;
    const fresh: Subscription = {
      queue,
      lanes: new Set(),
      fallback: false,
      worker: null,
      jobs: new Map(),
      last: Promise.resolve(),
    };
    this.#all.set(queue, fresh);
    return fresh;
  }

  /** Brings the Worker in line with what is wanted, after whatever is under way for this queue. */
  async #settle(one: Subscription, ended: () => void = () => undefined): Promise<void> {
    const step = one.last.then(async () => {
      const wanted = !this.#closed && (one.fallback || one.lanes.size > 0);
      if (wanted && one.worker === null) this.#open(one);
      else if (wanted) this.options.ledger.setFallback(one.queue, one.fallback);
      else if (one.worker !== null) await this.#shut(one, one.worker);
      ended();
    });
    const last = step.catch(() => undefined);
    one.last = last;
    await step;
    // There are as many classes as shapes: what is neither consumed nor wanted is forgotten.
    const idle = one.worker === null && one.lanes.size === 0 && !one.fallback;
    if (idle && one.last === last) this.#all.delete(one.queue);
  }

  #open(one: Subscription): void {
    const { ledger, redis, worker: holder, process, onError } = this.options;
    ledger.open(one.queue, one.fallback);
    const worker = createWorker<ClassJob, void>(
      one.queue,
      async (job) => {
        one.jobs.set(job, null);
        await process(job, (waitedMs) => {
          worker.concurrency = ledger.started(one.queue, waitedMs);
        }).finally(() => one.jobs.set(job, performance.now()));
      },
      { redis, settings: SETTINGS, concurrency: 1, holder, onError },
    );
    worker.on('completed', (job) => this.#settled(one, job));
    worker.on('failed', (job) => {
      if (job !== undefined) this.#settled(one, job);
    });
    one.worker = worker;
  }

  async #shut(one: Subscription, worker: ClassWorker): Promise<void> {
    await worker.close();
    one.worker = null;
    one.jobs.clear();
    this.options.ledger.close(one.queue);
  }

  #settled(one: Subscription, job: Job<ClassJob, void, string>): void {
    if (one.jobs.delete(job)) this.options.ledger.settled(one.queue);
  }
}
