import { describe, expect, it } from 'vitest';
import type { ReadyLane } from '../ports.js';
import { LaneIndex, laneKey } from './lane-index.js';

const lane = (id: string, width: number): ReadyLane => ({
  id,
  model: 'cls',
  version: '1',
  shapeKey: `x:float32[1,${width}]`,
  class: `x:float32[1,${width}]`,
  inputs: [{ name: 'x', dtype: 'float32', dims: [1, width] }],
  outputs: ['y'],
  epoch: 1,
  p50Ms: 1,
});
const KEY = laneKey(lane('a', 8));

describe('LaneIndex', () => {
  it('finds the least busy lane of a shape', () => {
    const index = new LaneIndex();
    index.add(lane('a', 8));
    index.add(lane('b', 8));
    index.add(lane('c', 16));
    const end = index.begin('a');
    expect(index.pick(KEY)?.id).toBe('b');
    end();
    index.begin('b');
    expect(index.pick(KEY)?.id).toBe('a');
    expect(index.pick('cls/1/x:float32[1,32]')).toBeNull();
  });

  it('is rid of a lane when the last run on it has ended', async () => {
    const index = new LaneIndex();
    index.add(lane('a', 8));
    const end = index.begin('a');
    let idle = false;
    const waiting = index.remove('a').then(() => {
      idle = true;
    });
    expect(index.has(KEY)).toBe(false);
    await Promise.resolve();
    expect(idle).toBe(false);
    end();
    await waiting;
    await index.remove('a');
  });

  it('takes a lane that came back for another, though it has its old id', () => {
    const index = new LaneIndex();
    const before = lane('a', 8);
    index.add(before);
    const endLate = index.begin('a');
    void index.remove('a');
    const after = lane('a', 8);
    index.add(after);
    index.add(lane('b', 8));
    index.begin('b');
    endLate();
    expect(index.pick(KEY)).toBe(after);
    expect([index.holds(before), index.holds(after)]).toEqual([false, true]);
  });
});
