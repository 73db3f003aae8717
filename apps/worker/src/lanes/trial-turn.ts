import { Injectable } from '@nestjs/common';

/** One trial on the device at a time: two would measure each other, and take memory that neither was given. */
@Injectable()
export class TrialTurn {
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
