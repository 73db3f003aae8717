import { DeadlineQueue, type Scheduled } from '@warmlane/lanes';

/**
 * Runs work on one device in the scheduler's order, at most `depth` at a time. It gathers while the device is busy: what
 * runs next is chosen when a place is free, not when the work arrives.
 */
export class Pump<T extends Scheduled> {
  readonly #queue = new DeadlineQueue<T>();
  #running = 0;

  /**
   * @param depth 2 keeps a device busy while an answer travels back; 1 where it must be known what runs
   * @param run must not reject: it settles the work's own promise
   */
  constructor(
    private readonly depth: number,
    private readonly now: () => number,
    private readonly run: (work: T) => Promise<void>,
  ) {}

  get waiting(): number {
    return this.#queue.size;
  }

  add(work: T): void {
    this.#queue.add(work, this.now());
    this.#turn();
  }

  /** Takes out what has not begun and is past its deadline. */
  takeExpired(): T[] {
    return this.#queue.takeExpired(this.now());
  }

  /** Takes out what has not begun and matches. */
  takeWhere(matches: (work: T) => boolean): T[] {
    return this.#queue.takeWhere(matches);
  }

  #turn(): void {
    while (this.#running < this.depth) {
      const work = this.#queue.take(this.now());
      if (work === null) return;
      this.#running += 1;
      void this.run(work).finally(() => {
        this.#running -= 1;
        this.#turn();
      });
    }
  }
}
