import { describe, expect, it } from 'vitest';
import { placeLane, rankWorkers } from './placement.js';

const keys = Array.from({ length: 300 }, (_, at) => ({ model: 'rec', version: '1', shapeClass: `x:float32[1,${at}]` }));
const workers = ['a-cpu-0', 'a-cpu-1', 'b-cpu-0', 'b-cpu-1'];

describe('placement', () => {
  it('is the same whatever the order in which the workers are known', () => {
    for (const key of keys) expect(rankWorkers(key, [...workers].reverse())).toEqual(rankWorkers(key, workers));
    expect(rankWorkers(keys[0] ?? { model: '', version: '', shapeClass: '' }, workers)).toHaveLength(4);
  });

  it('spreads lanes over the workers', () => {
    const counts = new Map<string, number>();
    for (const key of keys)
      for (const worker of placeLane(key, 1, workers)) counts.set(worker, (counts.get(worker) ?? 0) + 1);
    for (const worker of workers) expect(counts.get(worker)).toBeGreaterThan(45);
  });

  it('moves only what a worker that joins gains, and what one that leaves held', () => {
    const joined = [...workers, 'c-cpu-0'];
    for (const key of keys) {
      const [before] = placeLane(key, 1, workers);
      const [after] = placeLane(key, 1, joined);
      if (after !== before) expect(after).toBe('c-cpu-0');
      const [left] = placeLane(key, 1, workers.slice(1));
      if (before !== 'a-cpu-0') expect(left).toBe(before);
    }
  });

  it('gives as many as there are workers where more replicas are asked for', () => {
    const [key] = keys;
    if (key === undefined) throw new Error('no key');
    expect(placeLane(key, 9, workers).sort()).toEqual([...workers].sort());
    expect(placeLane(key, 2, [])).toEqual([]);
    expect(placeLane(key, 2, workers)).toEqual(rankWorkers(key, workers).slice(0, 2));
  });
});
