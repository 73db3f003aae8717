import { describe, expect, it } from 'vitest';
import { type CoverLane, firstOfCover } from './cover.js';
import { randomSource } from './random.js';

const lanes = (...pairs: [size: number, costMs: number][]): CoverLane[] =>
  pairs.map(([size, costMs]) => ({ size, costMs }));

/** All runs of the cover, by taking the first again and again. */
function coverOf(of: readonly CoverLane[], items: number): { costMs: number; sizes: number[] } {
  const sizes: number[] = [];
  let costMs = 0;
  for (let left = items; left > 0; ) {
    const lane = of[firstOfCover(of, left) ?? -1];
    if (lane === undefined) throw new Error('no lane');
    sizes.push(lane.size);
    costMs += lane.costMs;
    left -= lane.size;
  }
  return { costMs, sizes };
}

/** The cheapest by trying all, for small numbers. */
function cheapest(of: readonly CoverLane[], items: number): number {
  if (items <= 0) return 0;
  return Math.min(...of.map((lane) => lane.costMs + cheapest(of, items - lane.size)));
}

describe('firstOfCover', () => {
  it('fills a larger lane only in part where that is cheaper', () => {
    const cpu = lanes([1, 10], [2, 19], [4, 37], [8, 72]);
    expect(coverOf(cpu, 5).sizes).toEqual([4, 1]);
    expect(coverOf(cpu, 3).sizes).toEqual([2, 1]);
    const gpu = lanes([1, 1], [4, 1.3], [8, 1.5]);
    expect(coverOf(gpu, 5).sizes).toEqual([8]);
    expect(coverOf(gpu, 2).sizes).toEqual([4]);
    expect(coverOf(gpu, 9).sizes).toEqual([8, 1]);
  });

  it('has the fewest runs of equally cheap ways, the largest first', () => {
    expect(coverOf(lanes([1, 1], [2, 2], [4, 4]), 7).sizes).toEqual([4, 2, 1]);
    expect(coverOf(lanes([4, 4], [1, 1]), 6).sizes).toEqual([4, 1, 1]);
  });

  it('needs lanes and items', () => {
    expect(firstOfCover([], 3)).toBeNull();
    expect(firstOfCover(lanes([1, 1]), 0)).toBeNull();
  });

  it('is as cheap as the best of all ways', () => {
    const random = randomSource('cover');
    for (let round = 0; round < 200; round += 1) {
      const sizes = [
        ...new Set(Array.from({ length: 1 + Math.floor(random() * 4) }, () => 1 + Math.floor(random() * 6))),
      ];
      const of = sizes.map((size) => ({ size, costMs: 1 + Math.floor(random() * 20) }));
      const items = 1 + Math.floor(random() * 9);
      expect(coverOf(of, items).costMs).toBeCloseTo(cheapest(of, items), 9);
    }
  });

  it('stays quick for a request of a million items', () => {
    const begun = performance.now();
    expect(firstOfCover(lanes([1, 1], [64, 8]), 1_000_000)).toBe(1);
    expect(performance.now() - begun).toBeLessThan(1_000);
  });
});
