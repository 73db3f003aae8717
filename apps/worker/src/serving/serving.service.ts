import { CreditLedger, deviceCredit, Pace, type RunOfClass } from '@warmlane/lanes';
import {
  type BlobStore,
  ClassStore,
  classQueueName,
  coldQueueName,
  type Liveness,
  type Notices,
  type RedisClock,
  type ReplyStore,
  type StatsStore,
} from '@warmlane/redis';
import type { SharedMemory } from '@warmlane/shm';
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { HeldModel, LaneListener, LanesPort, ReadyLane } from '../ports.js';
import { Adoption } from './adoption.js';
import type { LaneBatch } from './batch-plan.js';
import { Executor } from './executor.js';
import { sizeOf } from './lane-index.js';
import { RequestHandler } from './request-handler.js';
import { ADOPT_EVERY_MS, type ServingOptions, SWEEP_MS } from './serving.settings.js';
import { Subscriptions } from './subscriptions.js';
import { Suspects } from './suspects.js';

export interface ServingDeps {
  /** This worker's id. */
  worker: string;
  /** Shared by all queue Workers: each adds one blocking connection of its own. */
  redis: Redis;
  clock: RedisClock;
  blobs: BlobStore;
  replies: ReplyStore;
  /** For large tensors; left out: they go through Redis and frames. */
  memory?: SharedMemory;
  stats: StatsStore;
  liveness: Liveness;
  lanes: LanesPort;
  /** Tell of senders that left; left out: what they gave up is run. */
  notices?: Notices;
  log: Logger;
  options: ServingOptions;
}

/** How many jobs are active here, at most so far, and at most allowed. */
export interface ServingLoad {
  active: number;
  maxActive: number;
  limit: number;
}

/** Consumes the queues of what this worker holds, and answers their requests. */
export class ServingService implements LaneListener {
  readonly #pace = new Pace();
  readonly #ledger: CreditLedger;
  readonly #executor: Executor;
  readonly #subscriptions: Subscriptions;
  readonly #adoption: Adoption;
  readonly #timers: NodeJS.Timeout[] = [];
  #closing: Promise<void> | null = null;

  constructor(private readonly deps: ServingDeps) {
    const { worker, redis, clock, lanes, log, options } = deps;
    this.#ledger = new CreditLedger(deviceCredit(options.largestBatch), (queue) => this.#pace.appetite(queue));
    this.#executor = new Executor({
      port: lanes,
      clock,
      suspects: new Suspects(redis),
      options,
      onExecution: ({ model, version, items, copyMs, computeMs }) =>
        deps.stats.execution(model, version, {
          batchSize: items,
          computeInputNs: copyMs * 1e6,
          computeInferNs: computeMs * 1e6,
          computeOutputNs: 0,
        }),
      onRun: (batch, sentAt) => this.#pace.ran(queueOf(batch.lane), runOf(batch, sentAt)),
    });
    const handler = new RequestHandler({
      worker,
      clock,
      replies: deps.replies,
      blobs: deps.blobs,
      memory: deps.memory ?? null,
      executor: this.#executor,
      log,
    });
    this.#subscriptions = new Subscriptions({
      redis,
      worker,
      ledger: this.#ledger,
      process: (job, started) => handler.handle(job, started),
      onError: (queue, error) => log.error({ err: error, queue }, 'a queue worker reported an error'),
    });
    this.#adoption = new Adoption({
      worker,
      classes: new ClassStore(redis),
      liveness: deps.liveness,
      subscriptions: this.#subscriptions,
      log,
    });
  }

  get load(): ServingLoad {
    return { active: this.#ledger.active, maxActive: this.#ledger.maxActive, limit: this.#ledger.limit };
  }

  /** Listens to the lanes and starts consuming. The clock must be in step already. */
  start(): void {
    if (this.#timers.length > 0) return;
    this.#every(SWEEP_MS, () => {
      this.#executor.sweep();
      this.#subscriptions.rebalance(performance.now());
    });
    this.#every(ADOPT_EVERY_MS, () => void this.#adoption.look());
    this.deps.lanes.listen(this);
    this.deps.notices
      ?.subscribe((notice) => {
        if (notice.kind === 'abandon') this.#executor.abandon(notice.request);
      })
      .catch((error: unknown) => this.deps.log.warn({ err: error }, 'no notices are heard: what was given up is run'));
  }

  async laneReady(lane: ReadyLane): Promise<void> {
    this.#executor.addLane(lane);
    this.#setCredit(lane);
    await this.#subscriptions.addLane(queueOf(lane), lane.id);
  }

  async laneLeaving(lane: ReadyLane): Promise<void> {
    let idle = Promise.resolve();
    await this.#subscriptions.removeLane(queueOf(lane), lane.id, () => {
      idle = this.#executor.removeLane(lane.id);
      this.#setCredit(lane);
    });
    await idle;
  }

  laneGone(lane: ReadyLane): void {
    void this.#executor.removeLane(lane.id);
    this.#setCredit(lane);
    this.#subscriptions.demote(queueOf(lane), lane.id);
  }

  laneMeasured(laneId: string, p50Ms: number): void {
    this.#executor.laneMeasured(laneId, p50Ms);
  }

  async modelHeld(model: HeldModel): Promise<void> {
    this.#executor.hold(model);
    this.#adoption.add(model);
    await this.#subscriptions.addFallback(coldQueueName(model.name, model.version));
  }

  async modelDropped(model: HeldModel): Promise<void> {
    await Promise.all([
      this.#adoption.drop(model),
      this.#subscriptions.removeFallback(coldQueueName(model.name, model.version)),
    ]);
    this.#executor.drop(model);
  }

  /**
   * Unsubscribes and finishes what runs. Resolves when that is done or `limitMs` passed (with Redis away closing a queue
   * does not end). Idempotent.
   */
  close(limitMs: number): Promise<void> {
    this.#closing ??= this.#close(limitMs);
    return this.#closing;
  }

  async #close(limitMs: number): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    // Deadlines still count for what waits.
    const sweeping = setInterval(() => this.#executor.sweep(), SWEEP_MS);
    let limit: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      limit = setTimeout(() => resolve('late'), limitMs);
    });
    const ended = await Promise.race([this.#subscriptions.close(), late]);
    clearTimeout(limit);
    clearInterval(sweeping);
    if (ended === 'late') {
      this.deps.log.warn(
        { ...this.load, limitMs },
        'closed before every request was answered; others will run them again',
      );
    }
  }

  /** The next batch is to be fetched while one runs. The lane came or went. */
  #setCredit(lane: ReadyLane): void {
    const { largestBatch } = this.deps.options;
    const largest = this.#executor.largestLike(lane);
    this.#pace.setLargest(queueOf(lane), largest && { size: sizeOf(largest), p50Ms: largest.p50Ms });
    this.#ledger.setTotal(deviceCredit(Math.max(largestBatch, this.#executor.largestBatch)));
  }

  #every(ms: number, run: () => void): void {
    const timer = setInterval(run, ms);
    timer.unref();
    this.#timers.push(timer);
  }
}

function queueOf(lane: ReadyLane): string {
  return classQueueName(lane.model, lane.version, lane.class);
}

/** A run that ended just now. */
function runOf({ parts }: LaneBatch, sentAt: number): RunOfClass {
  const items = parts.reduce((sum, { count }) => sum + count, 0);
  const jobs = parts.reduce((sum, { work, count }) => sum + count / work.items, 0);
  return { sentAt, endedAt: performance.now(), jobs, items };
}
