import { DeadlineQueue, type Scheduled } from '@warmlane/lanes';

export interface PumpOptions<T> {
  /** Runs under way at most. */
  depth: number;
  /**
   * A run is sent ahead of its turn only while what is under way takes less than this, ms: it hides the way to the device
   * and back, and longer runs would only wait there instead of in the right order here.
   */
  aheadBelowMs: number;
  /** What a run will take, ms, as far as it is known. */
  costMs: (work: T) => number;
  now: () => number;
  /** Must not reject: it settles the work's own promise. */
  run: (work: T) => Promise<void>;
}

/**
 * Runs work on one device in the scheduler's order. It gathers while the device is busy: what runs next is chosen when a
 * place is free, not when the work arrives.
 */
export class Pump<T extends Scheduled> {
  readonly #queue = new DeadlineQueue<T>();
  #running = 0;
  #costMs = 0;

  constructor(private readonly options: PumpOptions<T>) {}

  get waiting(): number {
    return this.#queue.size;
  }

  add(work: T): void {
    this.#queue.add(work, this.options.now());
    this.#turn();
  }

  /** Takes out what has not begun and is past its deadline. */
  takeExpired(): T[] {
    return this.#queue.takeExpired(this.options.now());
  }

  /** Takes out what has not begun and matches. */
  takeWhere(matches: (work: T) => boolean): T[] {
    return this.#queue.takeWhere(matches);
  }

  get #free(): boolean {
    const { depth, aheadBelowMs } = this.options;
    return this.#running === 0 || (this.#running < depth && this.#costMs < aheadBelowMs);
  }

  #turn(): void {
    while (this.#free) {
      const work = this.#queue.take(this.options.now());
      if (work === null) return;
      void this.#start(work);
    }
  }

  async #start(work: T): Promise<void> {
    const costMs = this.options.costMs(work);
    this.#running += 1;
    this.#costMs += costMs;
    await this.options.run(work);
    this.#running -= 1;
    this.#costMs = this.#running === 0 ? 0 : this.#costMs - costMs;
    this.#queue.ended(work.class, this.options.now());
    this.#turn();
  }
}
