/** Weight of the newest time in the mean and in the mean deviation, as TCP smooths its round trips. */
const NEWEST_OF_MEAN = 1 / 8;
const NEWEST_OF_DEVIATION = 1 / 4;
/** A time that all but a few stay within: so many mean deviations above the mean (2.5 standard deviations where they are normal). */
const DEVIATIONS = 2;

/** How long something that is done again and again takes, as seen lately. */
export class LikelyTime {
  #mean: number;
  #deviation = 0;

  /** @param firstMs what is believed before the first was seen */
  constructor(firstMs: number) {
    this.#mean = firstMs;
  }

  see(ms: number): void {
    this.#deviation += NEWEST_OF_DEVIATION * (Math.abs(ms - this.#mean) - this.#deviation);
    this.#mean += NEWEST_OF_MEAN * (ms - this.#mean);
  }

  /** Most take no longer, ms. */
  get ms(): number {
    return this.#mean + DEVIATIONS * this.#deviation;
  }
}
