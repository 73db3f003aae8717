import { WarmlaneError } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { ClassLimits } from './class-limits.js';

/** A queue whose looks answer when they are told to. */
class Counted {
  readonly name = 'run.echo.1.x';
  looks: ((count: number) => void)[] = [];

  getJobCountByTypes(): Promise<number> {
    return new Promise((resolve) => this.looks.push(resolve));
  }

  /** Answers the oldest look and lets its consequences happen. */
  async answer(count: number): Promise<void> {
    this.looks.shift()?.(count);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof WarmlaneError) return thrown.code;
    throw thrown;
  }
  return 'taken';
};

function limits(jobs: number, bytes = 1_000) {
  const clock = { now: 0 };
  return { clock, limits: new ClassLimits({ jobs, bytes }, () => clock.now), queue: new Counted() };
}

describe('ClassLimits', () => {
  it('takes as many requests as may wait, and no more before one of them is seen to be gone', async () => {
    const { clock, limits: own, queue } = limits(3);
    for (let n = 0; n < 3; n += 1) expect(codeOf(() => own.admit(queue, 1))).toBe('taken');
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
    await queue.answer(3);
    clock.now += 60;
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
    await queue.answer(1);
    expect(codeOf(() => own.admit(queue, 1))).toBe('taken');
  });

  it('sees what other producers added', async () => {
    const { clock, limits: own, queue } = limits(100);
    own.admit(queue, 1);
    await queue.answer(100);
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
    clock.now += 60;
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
    await queue.answer(99);
    expect(codeOf(() => own.admit(queue, 1))).toBe('taken');
  });

  it('takes the first request after a pause, whatever waited before it', async () => {
    const { clock, limits: own, queue } = limits(3);
    const ends = [1, 2, 3].map(() => own.admit(queue, 1));
    await queue.answer(3);
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
    for (const end of ends) end();
    clock.now += 3_000;
    expect(codeOf(() => own.admit(queue, 1))).toBe('taken');
    await queue.answer(0);
    expect(codeOf(() => own.admit(queue, 1))).toBe('taken');
  });

  it('counts its own requests in flight where nobody looked for long', async () => {
    const { clock, limits: own, queue } = limits(3);
    own.admit(queue, 1);
    await queue.answer(0);
    own.admit(queue, 1);
    clock.now += 3_000;
    expect(codeOf(() => own.admit(queue, 1))).toBe('taken');
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
  });

  it('bounds the bytes in flight of a class, but takes a single request of any size', () => {
    const { limits: own, queue } = limits(100, 1_000);
    const release = own.admit(queue, 5_000);
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
    release();
    const small = own.admit(queue, 600);
    expect(codeOf(() => own.admit(queue, 600))).toBe('overloaded');
    small();
    expect(codeOf(() => own.admit(queue, 600))).toBe('taken');
  });

  it('looks at most twice a second while little waits', () => {
    const { clock, limits: own, queue } = limits(100);
    for (let n = 0; n < 20; n += 1) own.admit(queue, 1)();
    expect(queue.looks).toHaveLength(1);
    clock.now += 499;
    own.admit(queue, 1);
    expect(queue.looks).toHaveLength(1);
  });

  it('looks no oftener where one request follows the other', async () => {
    const { clock, limits: own, queue } = limits(100);
    for (let n = 0; n < 20; n += 1) {
      own.admit(queue, 1)();
      await queue.answer(0);
    }
    expect(queue.looks).toHaveLength(0);
    clock.now += 499;
    own.admit(queue, 1);
    expect(queue.looks).toHaveLength(0);
    clock.now += 1;
    own.admit(queue, 1);
    expect(queue.looks).toHaveLength(1);
  });

  it('forgets classes that nobody uses any more as others come', async () => {
    const { clock, limits: own, queue } = limits(2);
    const named = (n: number) => ({ name: `run.echo.1.${n}`, getJobCountByTypes: () => Promise.resolve(0) });
    own.admit(queue, 1);
    for (let n = 0; n < 1_000; n += 1) {
      clock.now += 10;
      own.admit(named(n), 1)();
      await new Promise((resolve) => setImmediate(resolve));
    }
    // Those of the last 500 ms, the one in use, and as many again that are yet to leave.
    expect(own.size).toBeLessThanOrEqual(110);
    await queue.answer(0);
    expect(codeOf(() => own.admit(queue, 1))).toBe('taken');
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
  });

  it('keeps a full class until it has room', async () => {
    const { clock, limits: own, queue } = limits(2);
    const release = own.admit(queue, 1);
    await queue.answer(2);
    release();
    expect(own.size).toBe(1);
    clock.now += 60;
    expect(codeOf(() => own.admit(queue, 1))).toBe('overloaded');
    await queue.answer(0);
    clock.now += 500;
    own.admit({ name: 'another', getJobCountByTypes: () => Promise.resolve(0) }, 1);
    expect(own.size).toBe(1);
  });

  it('goes on where a look fails', async () => {
    const { limits: own, queue } = limits(2);
    const failing = { name: queue.name, getJobCountByTypes: () => Promise.reject(new Error('away')) };
    own.admit(failing, 1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(codeOf(() => own.admit(failing, 1))).toBe('taken');
  });
});
