import { WarmlaneError } from '@warmlane/contracts';
import { type WarmLaneQueueStore, warmLaneQueueName } from '@warmlane/redis';
import { UnrecoverableError, type Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { createQueue, createWorker, type QueueErrorListener } from '../queue.factory.js';
import { EVENTS_KEPT, WARMUP_SETTINGS } from '../settings.js';

/** A dead worker's active jobs come back when their lock ends; looked for more often than by a living worker. */
const SETTINGS = { ...WARMUP_SETTINGS, stalledInterval: 2_000 };

/**
 * Warm-up queues whose worker is gone. A parent waits for its children for ever, so somebody has to open the queue and
 * fail them; any number of processes may: BullMQ gives each job to one.
 */
export class DeadQueues {
  /** Workers seen to be lost whose queue is not known to be empty yet. */
  readonly #lost = new Set<string>();
  readonly #open = new Map<string, Worker<unknown, unknown, string>>();

  constructor(
    private readonly redis: Redis,
    private readonly queues: WarmLaneQueueStore,
    private readonly holder: string,
    private readonly onError: QueueErrorListener,
  ) {}

  add(worker: string): void {
    this.#lost.add(worker);
  }

  /** Opens the queues that hold jobs; leaves those that are empty and those whose worker is back. */
  async sync(isLost: (worker: string) => boolean): Promise<void> {
    for (const worker of this.#lost) {
      const consumer = this.#open.get(worker);
      if (isLost(worker) && !(await this.#isEmpty(worker))) {
        if (consumer === undefined) this.#open.set(worker, await this.#consume(worker));
        continue;
      }
      this.#lost.delete(worker);
      this.#open.delete(worker);
      await consumer?.close();
    }
  }

  get size(): number {
    return this.#lost.size;
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#open.values(), (consumer) => consumer.close()));
    this.#open.clear();
  }

  async #consume(worker: string): Promise<Worker<unknown, unknown, string>> {
    await this.queues.use([worker], { eventsKept: EVENTS_KEPT });
    const error = new WarmlaneError('worker-gone', `worker ${worker} is gone`, 'Its shapes go to another worker.');
    return createWorker<unknown, unknown>(
      warmLaneQueueName(worker),
      () => Promise.reject(new UnrecoverableError(JSON.stringify(error.toBody()))),
      { redis: this.redis, settings: SETTINGS, concurrency: 4, holder: this.holder, onError: this.onError },
    );
  }

  async #isEmpty(worker: string): Promise<boolean> {
    const queue = createQueue(warmLaneQueueName(worker), { redis: this.redis, onError: this.onError, readOnly: true });
    try {
      return (await queue.getJobCountByTypes('waiting', 'active', 'prioritized', 'delayed')) === 0;
    } finally {
      await queue.close();
    }
  }
}
