import { LikelyTime } from '@warmlane/lanes';

/** How long it takes from the beginning of a run until its answer is with its sender, as seen here lately. */
export class AnswerTimes {
  /** From the end of a run to its answer in Redis. */
  readonly #writing = new LikelyTime(0);
  /** Runs of the fallback, by model and version: of any shape, for there is no record of them. */
  readonly #cold = new Map<string, LikelyTime>();

  /** An answer was written so long after its run had ended, ms. */
  wrote(ms: number): void {
    this.#writing.see(ms);
  }

  /** The fallback ran a request of this version, ms. */
  ranCold(version: string, ms: number): void {
    const time = this.#cold.get(version) ?? new LikelyTime(ms);
    time.see(ms);
    this.#cold.set(version, time);
  }

  forget(version: string): void {
    this.#cold.delete(version);
  }

  /** After a run of so long, ms. The way on from Redis to the sender is seen by nobody here; it is another round trip. */
  ofRun(runMs: number): number {
    return runMs + 2 * this.#writing.ms;
  }

  ofColdRun(version: string): number {
    return this.ofRun(this.#cold.get(version)?.ms ?? 0);
  }
}
