import { DeadlineQueue, type Scheduled } from '@warmlane/lanes';

/** What is run next. */
export interface Turn<T, R> {
  /** null: nothing of what waits can run. */
  run: R | null;
  /** What leaves the queue: settled, or wholly in the run. One of both must be there. */
  taken: readonly T[];
}

export interface PumpOptions<T, R> {
  /** Runs under way at most. */
  depth: number;
  /**
   * A run is sent ahead of its turn only while what is under way takes less than this, ms: it hides the way to the device
   * and back, and longer runs would only wait there instead of in the right order here.
   */
  aheadBelowMs: number;
  /** What a run will take, ms, as far as it is known. */
  costMs: (run: R) => number;
  now: () => number;
  /**
   * The class has its turn: what of its waiting work runs, most urgent first. `ahead`: something else still runs; null
   * then leaves the work to gather until that has ended.
   */
  plan: (waiting: readonly T[], ahead: boolean) => Turn<T, R> | null;
  /** Must not reject: it settles the work's own promises. */
  run: (run: R) => Promise<void>;
}

/**
 * Runs work on one device in the scheduler's order. It gathers while the device is busy: what runs next, and together, is
 * chosen when a place is free, not when the work arrives.
 */
export class Pump<T extends Scheduled, R> {
  readonly #queue = new DeadlineQueue<T>();
  #running = 0;
  #costMs = 0;
  #soon = false;

  constructor(private readonly options: PumpOptions<T, R>) {}

  get waiting(): number {
    return this.#queue.size;
  }

  add(work: T): void {
    this.#queue.add(work, this.options.now());
    if (this.#running === 0) this.#turn();
    else if (this.#free) this.#turnSoon();
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

  /** What goes ahead of its turn has time: all that arrives in one turn of the event loop is looked at once. */
  #turnSoon(): void {
    if (this.#soon) return;
    this.#soon = true;
    setImmediate(() => {
      this.#soon = false;
      this.#turn();
    });
  }

  #turn(): void {
    while (this.#free) {
      const chosen: R[] = [];
      const name = this.#queue.takeFrom(this.options.now(), (waiting) => {
        const turn = this.options.plan(waiting, this.#running > 0);
        if (turn === null) return null;
        if (turn.run !== null) chosen.push(turn.run);
        return turn.taken;
      });
      if (name === null) return;
      for (const run of chosen) void this.#start(name, run);
    }
  }

  async #start(name: string, run: R): Promise<void> {
    const costMs = this.options.costMs(run);
    this.#running += 1;
    this.#costMs += costMs;
    await this.options.run(run);
    this.#running -= 1;
    this.#costMs = this.#running === 0 ? 0 : this.#costMs - costMs;
    this.#queue.ended(name, this.options.now());
    this.#turn();
  }
}
