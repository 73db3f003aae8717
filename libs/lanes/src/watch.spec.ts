import { describe, expect, it } from 'vitest';
import { median, percentile } from './percentile.js';
import { forgottenMs, keptItsShape, LaneWatch, wasDisturbed } from './watch.js';

describe('percentile', () => {
  it('is by nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, at) => 100 - at);
    expect([median(values), percentile(values, 0.99), percentile(values, 1), percentile([7], 0.01)]).toEqual([
      50, 99, 100, 7,
    ]);
    expect(() => median([])).toThrow(RangeError);
  });
});

describe('LaneWatch', () => {
  const window = (watch: LaneWatch, ms: number, nowMs: number) => {
    let found: number | null = null;
    for (let run = 0; run < 50; run += 1) found = watch.push(ms, nowMs) ?? found;
    return found;
  };

  it('suspects a lane whose median is slow twice, 10 s apart', () => {
    const watch = new LaneWatch(1);
    expect(window(watch, 4, 0)).toBeNull();
    expect(window(watch, 4, 5_000)).toBeNull();
    expect(window(watch, 4, 10_000)).toBe(4);
  });

  it('forgives where it was fast between, and where it is slow by less than 2 ms or three times', () => {
    const watch = new LaneWatch(1);
    window(watch, 4, 0);
    expect(window(watch, 1, 5_000)).toBeNull();
    expect(window(watch, 4, 10_000)).toBeNull();
    const short = new LaneWatch(0.1);
    window(short, 2, 0);
    expect(window(short, 2, 20_000)).toBeNull();
    const long = new LaneWatch(10);
    window(long, 29, 0);
    expect(window(long, 29, 20_000)).toBeNull();
  });
});

describe('wasDisturbed', () => {
  it('is where requests ran meanwhile, or the revisit was faster than the steady state', () => {
    expect(wasDisturbed({ served: 0, steadyMs: 7.5, revisitMs: 1.9 })).toBe(true);
    expect(wasDisturbed({ served: 1, steadyMs: 2, revisitMs: 2 })).toBe(true);
    expect(wasDisturbed({ served: 0, steadyMs: 2, revisitMs: 1.7 })).toBe(false);
    expect(wasDisturbed({ served: 0, steadyMs: 2, revisitMs: 2.9 })).toBe(false);
  });
});

describe('forgottenMs', () => {
  it.each([
    ['cuda', { medianMs: 4.2, atOnceMs: 65 }, 4, 65],
    ['cuda', { medianMs: 6.5, atOnceMs: 5 }, 4, 6.5],
    ['cuda', { medianMs: 4.2, atOnceMs: 12 }, 4, null],
    ['cuda', { medianMs: 0.1, atOnceMs: 1.2 }, 0.1, null],
    ['cpu', { medianMs: 4.2, atOnceMs: 65 }, 4, 65],
    ['cpu', { medianMs: 9, atOnceMs: 30 }, 4, null],
  ] as const)('%s %o, steady %d ms: %s', (provider, times, steadyMs, found) => {
    expect(forgottenMs(provider, times, steadyMs)).toBe(found);
  });
});

describe('keptItsShape', () => {
  it('is 1.5 times on CUDA, 3 times on the CPU with 1 ms for what else runs there', () => {
    expect(keptItsShape('cuda', 1.5, 1)).toBe(true);
    expect(keptItsShape('cuda', 1.6, 1)).toBe(false);
    expect(keptItsShape('cpu', 31, 10)).toBe(true);
    expect(keptItsShape('cpu', 32, 10)).toBe(false);
  });
});
