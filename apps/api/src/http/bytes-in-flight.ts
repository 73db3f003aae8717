import { WarmlaneError } from '@warmlane/contracts';

/** The memory that request bodies may take, given out before they are read, so that a burst cannot exhaust it. */
export class BytesInFlight {
  #used = 0;

  constructor(readonly limit: number) {}

  get used(): number {
    return this.#used;
  }

  /** Throws `overloaded` where the bytes would go over the limit. */
  reserve(bytes: number): void {
    if (this.#used + bytes > this.limit) {
      throw new WarmlaneError(
        'overloaded',
        `too many request bodies at once: ${this.#used} of ${this.limit} bytes are in use, ${bytes} more were asked for`,
        'Send the request again in a second.',
      );
    }
    this.#used += bytes;
  }

  release(bytes: number): void {
    this.#used -= bytes;
  }
}

/** What one request holds of {@link BytesInFlight}; given back once, when its answer is done. */
export class Reservation {
  #held = 0;
  #closed = false;

  constructor(private readonly budget: BytesInFlight) {}

  add(bytes: number): void {
    if (this.#closed) throw new WarmlaneError('canceled', 'the request ended before its body was read');
    this.budget.reserve(bytes);
    this.#held += bytes;
  }

  release(): void {
    this.#closed = true;
    this.budget.release(this.#held);
    this.#held = 0;
  }
}
