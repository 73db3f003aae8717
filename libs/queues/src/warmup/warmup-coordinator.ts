import { EventEmitter, once } from 'node:events';
import { newId, WarmlaneError, type WarmModelJob, type WarmupView, warmModelJobSchema } from '@warmlane/contracts';
import {
  type Liveness,
  ModelStore,
  type Notice,
  type Notices,
  PlanStore,
  RedisClock,
  type RedisLogger,
  WARM_MODEL_QUEUE,
  WarmLaneQueueStore,
  WarmupStore,
} from '@warmlane/redis';
import { UnrecoverableError, type Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { closeWithin } from '../close-within.js';
import { createWorker, type QueueErrorListener } from '../queue.factory.js';
import { WARMUP_SETTINGS } from '../settings.js';
import { DeadQueues } from './dead-queues.js';
import { WarmLaneSweep, type WarmLaneSweepOptions } from './warm-lane-sweep.js';
import { WarmupBoard } from './warmup-board.js';
import { WarmupFlows } from './warmup-flows.js';
import { toWarmupRequest, type WarmupInput } from './warmup-request.js';
import { isFinalState } from './warmup-slots.js';
import { type PlaceLane, WarmupSteps } from './warmup-steps.js';

/** Unfinished warm-ups are looked at this often; notices make it sooner. */
const TICK_MS = 1_000;
/** A listener looks this often where no notice comes. */
const WATCH_MS = 500;
/** Changes of one moment make one event. */
const WATCH_PAUSE_MS = 50;
/** Parents run for a few round trips. */
const PARENT_CONCURRENCY = 8;

export interface WarmupCoordinatorOptions {
  /** Not closed by the coordinator. */
  redis: Redis;
  liveness: Liveness;
  notices: Notices;
  /** The workers' own rule of placement. */
  place: PlaceLane;
  logger?: RedisLogger;
  /** When what workers left that never come back is forgotten. */
  sweep?: WarmLaneSweepOptions;
}

interface CoordinatorEvents {
  /** Something about a warm-up, or a lane, may have changed. */
  change: [];
}

/**
 * Warm-ups: takes requests, plans them as flows, reports on them, finishes them. Every API process runs one; whatever one
 * does the others may do as well, and if one dies they go on.
 */
export class WarmupCoordinator {
  readonly #logger: RedisLogger | null;
  readonly #options: WarmupCoordinatorOptions;
  readonly #store: WarmupStore;
  readonly #models: ModelStore;
  readonly #plans: PlanStore;
  readonly #clock: RedisClock;
  readonly #flows: WarmupFlows;
  readonly #board: WarmupBoard;
  readonly #steps: WarmupSteps;
  readonly #dead: DeadQueues;
  readonly #sweep: WarmLaneSweep;
  readonly #events = new EventEmitter<CoordinatorEvents>();
  readonly #holder = newId();
  readonly #busy = new Map<string, Promise<string[]>>();
  #parents: Worker<WarmModelJob, unknown, string> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #ticking: Promise<void> | null = null;
  #stopNotices: (() => void)[] = [];
  #closed = false;

  constructor(options: WarmupCoordinatorOptions) {
    const { redis, liveness, place } = options;
    const onError: QueueErrorListener = (queue, error) =>
      this.#logger?.warn({ queue, error: error.message }, 'a warm-up queue reports an error');
    this.#options = options;
    this.#logger = options.logger ?? null;
    this.#events.setMaxListeners(0);
    this.#store = new WarmupStore(redis);
    this.#models = new ModelStore(redis);
    this.#plans = new PlanStore(redis);
    this.#clock = new RedisClock(redis);
    const queues = new WarmLaneQueueStore(redis);
    this.#flows = new WarmupFlows(redis, queues, onError);
    this.#board = new WarmupBoard(redis, liveness, this.#flows);
    this.#steps = new WarmupSteps({
      store: this.#store,
      flows: this.#flows,
      board: this.#board,
      clock: this.#clock,
      place,
    });
    this.#dead = new DeadQueues(redis, queues, this.#holder, onError);
    const left = { redis, warmups: this.#store, queues, board: this.#board, dead: this.#dead };
    this.#sweep = new WarmLaneSweep(left, options.sweep);
  }

  /** Resolves when it coordinates; while Redis is away it waits for it. */
  async start(): Promise<void> {
    const { redis, notices } = this.#options;
    await this.#clock.sync();
    this.#stopNotices = [
      await notices.subscribe((notice) => this.#hear(notice)),
      notices.onResync(() => this.#events.emit('change')),
    ];
    this.#parents = createWorker<WarmModelJob, unknown>(WARM_MODEL_QUEUE, (job) => this.#runParent(job.data), {
      redis,
      settings: WARMUP_SETTINGS,
      concurrency: PARENT_CONCURRENCY,
      holder: this.#holder,
      onError: (queue, error) =>
        this.#logger?.warn({ queue, error: error.message }, 'the warm-up queue reports an error'),
    });
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  /**
   * Takes a warm-up: its shapes are in the plan from now on. The same request while one is unfinished is that one. Throws
   * as {@link toWarmupRequest}; then nothing was added.
   */
  async create(input: WarmupInput): Promise<WarmupView> {
    const request = await toWarmupRequest(input, this.#models, this.#plans);
    const { doc } = await this.#store.create(request);
    this.#look(doc.id);
    return this.#board.view(doc);
  }

  /** Throws `not-found` for an unknown id, and 24 h after the end. */
  async view(id: string): Promise<WarmupView> {
    const doc = await this.#store.get(id);
    if (doc === null) throw notFound(id);
    return this.#board.view(doc);
  }

  /**
   * Cancels: lanes that are not ready end, the shapes that this warm-up added and nothing else names leave the plan, ready
   * lanes stay. One that has ended stays as it ended. Throws `not-found`.
   */
  async cancel(id: string): Promise<WarmupView> {
    await this.#store.cancel(id);
    await this.#advance(id, null);
    return this.view(id);
  }

  /**
   * The warm-up's view now and after every change, the last one in a final state. Ends early when the signal is aborted.
   * Throws `not-found`.
   */
  async *watch(id: string, signal: AbortSignal): AsyncGenerator<WarmupView, void, undefined> {
    let last = '';
    while (!signal.aborted) {
      const changed = this.#nextChange(signal);
      const view = await this.view(id);
      const text = JSON.stringify(view);
      if (text !== last) yield view;
      last = text;
      if (isFinalState(view.state)) return;
      await changed;
    }
  }

  /** The view in its final state. Rejects with `canceled` when the signal is aborted before. */
  async finished(id: string, signal: AbortSignal): Promise<WarmupView> {
    for await (const view of this.watch(id, signal)) if (isFinalState(view.state)) return view;
    throw new WarmlaneError('canceled', `nobody waits for warm-up ${id} any more`);
  }

  /** Leaves what is under way to the others. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const stop of this.#stopNotices) stop();
    this.#events.emit('change');
    await closeWithin([this.#parents?.close(), this.#ticking, ...this.#busy.values()]);
    this.#clock.close();
    await closeWithin([this.#dead.close(), this.#flows.close()]);
  }

  #hear(notice: Notice): void {
    if (notice.kind === 'warmup' || notice.kind === 'cancel') this.#look(notice.warmup);
    if (notice.kind === 'worker') this.#tick();
    if (notice.kind !== 'verify') this.#events.emit('change');
  }

  /** Runs when all children of a flow are settled: compares, and trusts none of them. */
  async #runParent(data: WarmModelJob): Promise<{ generation: number }> {
    const parsed = warmModelJobSchema.safeParse(data);
    if (!parsed.success) throw new UnrecoverableError('not a warm-model job of this version');
    const { warmup, generation } = parsed.data;
    await this.#advance(warmup, generation);
    return { generation };
  }

  #look(id: string): void {
    if (this.#closed) return;
    this.#advance(id, null).catch((error: unknown) => this.#report(error, id));
  }

  /** One step at a time per warm-up in this process. */
  async #advance(id: string, settled: number | null): Promise<string[]> {
    const before = this.#busy.get(id);
    const step = (async () => {
      await before?.catch(() => undefined);
      return this.#steps.advance(id, settled);
    })();
    this.#busy.set(id, step);
    try {
      return await step;
    } finally {
      if (this.#busy.get(id) === step) this.#busy.delete(id);
      this.#events.emit('change');
    }
  }

  #tick(): void {
    if (this.#closed) return;
    this.#ticking ??= this.#lookAtAll()
      .catch((error: unknown) => this.#report(error, null))
      .finally(() => {
        this.#ticking = null;
      });
  }

  async #lookAtAll(): Promise<void> {
    for (const id of await this.#store.unfinished()) {
      for (const worker of await this.#advance(id, null)) this.#dead.add(worker);
    }
    await this.#sweep.look();
    if (this.#dead.size > 0) await this.#dead.sync(await this.#board.lost());
  }

  #report(error: unknown, warmup: string | null): void {
    if (!this.#closed)
      this.#logger?.warn({ error: String(error), warmup }, 'a warm-up could not be looked at; trying again');
  }

  /** Resolves soon after the next change, or after half a second. */
  async #nextChange(signal: AbortSignal): Promise<void> {
    const timeout = AbortSignal.timeout(WATCH_MS);
    const until = AbortSignal.any([signal, timeout]);
    await once(this.#events, 'change', { signal: until }).then(
      () => new Promise((resolve) => setTimeout(resolve, WATCH_PAUSE_MS)),
      () => undefined,
    );
  }
}

function notFound(id: string): WarmlaneError {
  return new WarmlaneError('not-found', `no warm-up ${id}`, 'Finished warm-ups are kept for 24 h.');
}
