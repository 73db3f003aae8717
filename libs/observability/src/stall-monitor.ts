import { performance } from 'node:perf_hooks';

/** The little of a logger that the monitor needs. */
interface StallLog {
  warn(fields: object, message: string): void;
}

export interface StallMonitorOptions {
  /** A delay of the event loop from here on is a stall, ms. BullMQ's lock renewal suffers from about 1,000. */
  thresholdMs: number;
  /** How often the loop is looked at, ms; a stall shorter than this may go unseen. */
  intervalMs: number;
  log: StallLog;
  /** Called for each stall, with its length in ms. */
  onStall?: (stallMs: number) => void;
}

/** What held the event loop. */
export interface Stall {
  stallMs: number;
  /** Labels of the work in flight when it began, the newest first: the newest is the likeliest to have blocked. */
  inFlight: string[];
}

const NAMED = 10;

/**
 * Sees when the event loop stood still and names the job in flight. A timer that fires late is the proof; what had been
 * entered and not left by then is named, newest first. Costs one timer and two map operations per job.
 */
export class StallMonitor implements Disposable {
  readonly #options: StallMonitorOptions;
  readonly #inFlight = new Map<number, string>();
  #next = 0;
  #timer: NodeJS.Timeout | null = null;
  #expectedAt = 0;
  #maxMs = 0;
  /** What ended since the last look: a blocking job has already left when the late timer fires. */
  #left: string[] = [];

  constructor(options: StallMonitorOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#timer !== null) return;
    this.#expectedAt = performance.now() + this.#options.intervalMs;
    this.#timer = setInterval(() => this.#look(), this.#options.intervalMs);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  /** Longest delay seen since the start or the last `resetMax`, ms. */
  get maxMs(): number {
    return this.#maxMs;
  }

  resetMax(): void {
    this.#maxMs = 0;
  }

  /** Notes that a job begins; call the result when it ends (more than once is harmless). */
  enter(label: string): () => void {
    const id = this.#next;
    this.#next += 1;
    this.#inFlight.set(id, label);
    return () => {
      if (!this.#inFlight.delete(id)) return;
      this.#left.push(label);
      if (this.#left.length > NAMED) this.#left.shift();
    };
  }

  /** Runs a job under its label. */
  async run<T>(label: string, job: () => Promise<T> | T): Promise<T> {
    const leave = this.enter(label);
    try {
      return await job();
    } finally {
      leave();
    }
  }

  #look(): void {
    const now = performance.now();
    const stallMs = now - this.#expectedAt;
    this.#expectedAt = now + this.#options.intervalMs;
    const left = this.#left;
    this.#left = [];
    if (stallMs > this.#maxMs) this.#maxMs = stallMs;
    if (stallMs < this.#options.thresholdMs) return;
    const stall: Stall = {
      stallMs: Math.round(stallMs),
      inFlight: [...left.reverse(), ...[...this.#inFlight.values()].reverse()].slice(0, NAMED),
    };
    this.#options.log.warn(
      stall,
      `event loop stood still for ${stall.stallMs} ms while ${stall.inFlight[0] ?? 'no job'} was in flight`,
    );
    this.#options.onStall?.(stallMs);
  }
}
