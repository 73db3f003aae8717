/** Allows extra work as a share of the work that was done, with a small stock for quiet times. */
export class TokenBucket {
  #tokens: number;

  constructor(
    /** Tokens earned per unit of work, 0.05 for 5 %. */
    private readonly share: number,
    /** Most tokens in stock; also how many there are at the start. */
    private readonly stock: number,
  ) {
    this.#tokens = stock;
  }

  /** One unit of work was accepted. */
  earn(): void {
    this.#tokens = Math.min(this.stock, this.#tokens + this.share);
  }

  /** Takes one token; false where there is none. */
  take(): boolean {
    // Twenty shares of 0.05 add up to 0.9999999999999999.
    if (this.#tokens < 1 - 1e-9) return false;
    this.#tokens -= 1;
    return true;
  }
}
