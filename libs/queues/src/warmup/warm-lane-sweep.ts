import { LaneStore, type WarmLaneQueueStore, type WarmupStore } from '@warmlane/redis';
import type { Redis } from 'ioredis';
import { WARMUP_COMPLETED_KEPT_MS } from '../settings.js';
import type { DeadQueues } from './dead-queues.js';
import type { WarmupBoard } from './warmup-board.js';

const EVERY_MS = 5 * 60_000;

export interface WarmLaneSweepOptions {
  /** ms between sweeps; default 5 min. */
  everyMs?: number;
  /** ms that a queue stays after its last use; default as long as its finished jobs, 2 h. */
  keptMs?: number;
}

export interface WarmLaneSweepDeps {
  redis: Redis;
  warmups: WarmupStore;
  queues: WarmLaneQueueStore;
  board: WarmupBoard;
  dead: DeadQueues;
}

/**
 * Looks for warm-up queues whose worker never comes back: has the jobs ended that nobody waits for any more, then forgets
 * the queue. Any number of processes may do so at once: each step is one script, and doing it again changes nothing.
 */
export class WarmLaneSweep {
  readonly #lanes: LaneStore;
  readonly #everyMs: number;
  readonly #keptMs: number;
  #sweptAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly deps: WarmLaneSweepDeps,
    { everyMs = EVERY_MS, keptMs = WARMUP_COMPLETED_KEPT_MS }: WarmLaneSweepOptions = {},
  ) {
    this.#lanes = new LaneStore(deps.redis);
    this.#everyMs = everyMs;
    this.#keptMs = keptMs;
  }

  /** Sweeps, if the last sweep is long enough ago. */
  async look(): Promise<void> {
    if (performance.now() - this.#sweptAt < this.#everyMs) return;
    this.#sweptAt = performance.now();
    const { queues, board, dead } = this.deps;
    const [workers, lost, busy] = await Promise.all([queues.list(), board.lost(), this.#inUnfinished()]);
    for (const worker of workers.filter(lost)) {
      // A warm-up that was canceled, or passed its deadline, is looked at no more: its jobs may lie there still.
      dead.add(worker);
      if (busy.has(worker) || !(await queues.drop(worker, { keptMs: this.#keptMs }))) continue;
      await this.#lanes.markStale(worker, `worker ${worker} is not known any more`);
    }
  }

  /** Workers that an unfinished warm-up asked for lanes. */
  async #inUnfinished(): Promise<Set<string>> {
    const { warmups } = this.deps;
    const docs = await Promise.all((await warmups.unfinished()).map((id) => warmups.get(id)));
    return new Set(docs.flatMap((doc) => doc?.assignments ?? []).map(({ worker }) => worker));
  }
}
