/** Time that trials of one model may take; waiting for a quiet device does not count. */
export class TimeBudget {
  private usedMs = 0;

  constructor(readonly totalMs: number) {}

  get leftMs(): number {
    return Math.max(0, this.totalMs - this.usedMs);
  }

  async spend<T>(work: () => Promise<T>): Promise<T> {
    const begun = performance.now();
    try {
      return await work();
    } finally {
      this.usedMs += performance.now() - begun;
    }
  }
}
