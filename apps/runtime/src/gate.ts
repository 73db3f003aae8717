/** Time for {@link Gate}: the real one in the runtime, a fake one in its specs. */
export interface GateClock {
  nowMs(): number;
  /** Calls `then` once after `ms`; returns a function that takes it back. */
  after(ms: number, then: () => void): () => void;
}

export interface GateOptions {
  /** How long a capture keeps others out while it waits for those inside. */
  waitMs: number;
  /** Tries of one capture. */
  attempts: number;
  /** Between two tries, so that those who were kept out get through. */
  stepBackMs: number;
  /** Between the end of a capture and the start of the next while requests are being served. */
  spacingMs: number;
  /** Requests count as being served so long after the last one arrived. */
  servingMs: number;
}

const GATE_DEFAULTS: GateOptions = {
  waitMs: 5000,
  attempts: 5,
  stepBackMs: 250,
  spacingMs: 200,
  servingMs: 1000,
};

/**
 * Keeps native work on pool threads and graph captures apart. A capture in CUDA's global mode fails when any thread of
 * the process allocates meanwhile, and so does the allocation. Pool-thread calls hold the gate together, a capture
 * holds it alone, on the serving thread, and synchronously: nothing else of this thread runs meanwhile either.
 *
 * Do not ask for the gate while holding it: the inner call waits for a capture that waits for the outer one.
 */
export class Gate {
  readonly #clock: GateClock;
  readonly #options: GateOptions;
  #inside = 0;
  #barred = false;
  #waiting: (() => void)[] = [];
  #emptied: (() => void) | null = null;
  #captures: Promise<unknown> = Promise.resolve();
  #lastRequestMs = Number.NEGATIVE_INFINITY;
  #lastCaptureMs = Number.NEGATIVE_INFINITY;
  #idle: (() => void)[] = [];

  constructor(clock: GateClock, options: Partial<GateOptions> = {}) {
    this.#clock = clock;
    this.#options = { ...GATE_DEFAULTS, ...options };
  }

  /** Calls inside now. */
  get inside(): number {
    return this.#inside;
  }

  /** A request arrived that somebody waits for. */
  requestArrived(): void {
    this.#lastRequestMs = this.#clock.nowMs();
  }

  /** Runs pool-thread work together with other such work, never beside a capture. */
  async shared<T>(work: () => Promise<T>): Promise<T> {
    if (this.#barred) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#inside += 1;
    try {
      return await work();
    } finally {
      this.#inside -= 1;
      if (this.#inside === 0) this.#empty();
    }
  }

  /** Runs a capture alone, after those asked for before. Null where the work inside did not end in all its tries. */
  alone<T>(capture: () => T): Promise<{ value: T } | null> {
    const turn = this.#captures.then(() => this.#tryAlone(capture));
    this.#captures = turn.catch(() => undefined);
    return turn;
  }

  /** Resolves when nobody is inside. */
  async idle(): Promise<void> {
    if (this.#inside > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #tryAlone<T>(capture: () => T): Promise<{ value: T } | null> {
    for (let attempt = 1; attempt <= this.#options.attempts; attempt++) {
      await this.#spaced();
      this.#barred = true;
      try {
        if (await this.#emptyWithin(this.#options.waitMs)) return { value: capture() };
      } finally {
        if (this.#inside === 0) this.#lastCaptureMs = this.#clock.nowMs();
        this.#open();
      }
      if (attempt < this.#options.attempts) await this.#sleep(this.#options.stepBackMs);
    }
    return null;
  }

  /** Leaves served requests room between two captures. */
  async #spaced(): Promise<void> {
    for (;;) {
      const nowMs = this.#clock.nowMs();
      const serving = nowMs - this.#lastRequestMs < this.#options.servingMs;
      const leftMs = this.#lastCaptureMs + this.#options.spacingMs - nowMs;
      if (!serving || leftMs <= 0) return;
      await this.#sleep(leftMs);
    }
  }

  #emptyWithin(ms: number): Promise<boolean> {
    if (this.#inside === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const takeBack = this.#clock.after(ms, () => {
        this.#emptied = null;
        resolve(false);
      });
      this.#emptied = () => {
        takeBack();
        resolve(true);
      };
    });
  }

  #empty(): void {
    const emptied = this.#emptied;
    this.#emptied = null;
    emptied?.();
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #open(): void {
    this.#barred = false;
    const waiting = this.#waiting.splice(0);
    this.#inside += waiting.length;
    for (const enter of waiting) enter();
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(ms, resolve);
    });
  }
}
