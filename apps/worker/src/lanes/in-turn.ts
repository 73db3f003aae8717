/** One piece of work at a time, in the order in which they were asked for. */
export class InTurn {
  private last: Promise<void> = Promise.resolve();

  /** Runs the work after whatever asked for its turn before. */
  async take<T>(work: () => Promise<T>): Promise<T> {
    const before = this.last;
    let done: () => void = () => undefined;
    this.last = new Promise((resolve) => {
      done = resolve;
    });
    await before;
    try {
      return await work();
    } finally {
      done();
    }
  }
}
