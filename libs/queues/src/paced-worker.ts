import { type Job, Worker } from 'bullmq';
import { RUN_RETRY_DELAY_MS } from './settings.js';

/**
 * A worker that waits before it fetches again where Redis answered the fetch with an error: BullMQ itself waits only after
 * a lost connection. With the disk of Redis full (MISCONF) it was measured to fetch 3,000 times a second.
 */
export class PacedWorker<Data, Result> extends Worker<Data, Result, string> {
  protected override async moveToActive(token: string, name?: string): Promise<Job<Data, Result>> {
    try {
      return await super.moveToActive(token, name);
    } catch (error) {
      if (error instanceof Error && error.name === 'ReplyError') await this.#pause();
      throw error;
    }
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
