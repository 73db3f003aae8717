import { type Job, type Processor, Worker, type WorkerOptions } from 'bullmq';
import { boundEvents } from './bound-events.js';
import { RUN_RETRY_DELAY_MS } from './settings.js';

/**
 * A worker that waits before it fetches again where Redis answered the fetch with an error: BullMQ itself waits only after
 * a lost connection. With the disk of Redis full (MISCONF) it was measured to fetch 3,000 times a second.
 *
 * Before its first fetch, and after each lost connection (Redis may have lost its memory), it sets how many events its
 * queue keeps: whoever consumes a queue answers for its settings, since those who add may set none.
 */
export class PacedWorker<Data, Result> extends Worker<Data, Result, string> {
  readonly #eventsKept: number;
  #bounded = false;
  #bounding: Promise<void> | null = null;

  constructor(
    name: string,
    processor: Processor<Data, Result, string>,
    { eventsKept, ...options }: WorkerOptions & { eventsKept: number },
  ) {
    super(name, processor, options);
    this.#eventsKept = eventsKept;
    // At once, and not before the next fetch: a worker that waits for a job goes on waiting after a reconnection.
    this.on('ioredis:close', () => {
      if (this.closing === undefined) this.#bound().catch(() => undefined);
    });
  }

  protected override async moveToActive(token: string, name?: string): Promise<Job<Data, Result>> {
    try {
      if (!this.#bounded) await this.#bound();
      return await super.moveToActive(token, name);
    } catch (error) {
      if (error instanceof Error && error.name === 'ReplyError') await this.#pause();
      throw error;
    }
  }

  /** One write at a time: one that is under way when the connection is lost is sent once it is back. */
  #bound(): Promise<void> {
    this.#bounded = false;
    this.#bounding ??= boundEvents(this, this.#eventsKept)
      .then(() => {
        this.#bounded = true;
      })
      .finally(() => {
        this.#bounding = null;
      });
    return this.#bounding;
  }

  /** Ends early where the worker is closed. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.off('closing', end);
        resolve();
      };
      const timer = setTimeout(end, RUN_RETRY_DELAY_MS);
      this.once('closing', end);
    });
  }
}
