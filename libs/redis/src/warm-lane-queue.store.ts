import type { Redis } from 'ioredis';
import { keys, PREFIX } from './keys.js';
import { warmLaneQueueName } from './queue-names.js';
import { OPEN_JOBS, QUEUE_REMAINS } from './queue-remains.js';
import { runScript } from './scripts.js';

/** Finished jobs removed in one go: some ms of Redis. */
const JOBS_AT_ONCE = 500;

/**
 * The warm-up queues of the workers by their last use. Where each start of a worker has a new id, each leaves a queue that
 * nobody ever opens again: so they are found without a scan.
 */
export class WarmLaneQueueStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** To be called by whoever opens or adds to the queues of these workers, before that. */
  async use(workers: readonly string[], { eventsKept }: { eventsKept: number }): Promise<void> {
    if (workers.length === 0) return;
    const settings = workers.map((worker) => `${queueKey(worker)}:meta`);
    await runScript(this.#redis, 'useWarmLaneQueues', [keys.warmLaneQueues(), ...settings], [eventsKept, ...workers]);
  }

  /** Workers whose queue is not forgotten, the one unused for longest first. */
  list(): Promise<string[]> {
    return this.#redis.zrange(keys.warmLaneQueues(), '0', '-1');
  }

  /**
   * Forgets all of a worker's queue, its finished jobs as well. False, and nothing is changed, where the queue was used
   * within `keptMs` or has jobs that have not ended, or the worker is known.
   */
  async drop(worker: string, { keptMs }: { keptMs: number }): Promise<boolean> {
    const queue = queueKey(worker);
    const names = [
      keys.warmLaneQueues(),
      ...[keys.worker(worker), keys.present(worker), keys.alive(worker), keys.slot(worker)],
      ...OPEN_JOBS.map((name) => `${queue}:${name}`),
      ...[`${queue}:completed`, `${queue}:failed`, keys.workerLanes(worker)],
      ...QUEUE_REMAINS.map((name) => `${queue}:${name}`),
    ];
    for (;;) {
      const reply = await runScript(this.#redis, 'dropWarmLaneQueue', names, [
        worker,
        keptMs,
        `${queue}:`,
        JOBS_AT_ONCE,
      ]);
      if (reply !== 2) return reply === 1;
    }
  }
}

function queueKey(worker: string): string {
  return `${PREFIX}:${warmLaneQueueName(worker)}`;
}
