import { describe, expect, it } from 'vitest';
import type { ReadyLane } from '../ports.js';
import { classKey, LaneIndex } from './lane-index.js';

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
  batch: null,
  pad: null,
});
const KEY = classKey(lane('a', 8));
const pick = (index: LaneIndex, key = KEY) => index.pick(key, 1, false);

describe('LaneIndex', () => {
  it('finds the least busy lane of a shape', () => {
    const index = new LaneIndex();
    index.add(lane('a', 8));
    index.add(lane('b', 8));
    index.add(lane('c', 16));
    const end = index.begin('a');
    expect(pick(index)?.id).toBe('b');
    end();
    index.begin('b');
    expect(pick(index)?.id).toBe('a');
    expect(pick(index, 'cls/1/x:float32[1,32]')).toBeNull();
  });

  it('is rid of a lane when the last run on it has ended', async () => {
    const index = new LaneIndex();
    index.add(lane('a', 8));
    const end = index.begin('a');
    let idle = false;
    const waiting = index.remove('a').then(() => {
      idle = true;
    });
    expect(index.serves(KEY, false)).toBe(false);
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
    expect(pick(index)).toBe(after);
    expect([index.holds(before), index.holds(after)]).toEqual([false, true]);
  });

  it('covers the items of a class by the records of its lanes', () => {
    const index = new LaneIndex();
    const axes = { inputs: { x: 0 }, outputs: { y: 0 } };
    const batch = (id: string, size: number, p50Ms: number): ReadyLane => ({
      ...lane(id, 8),
      class: 'x:float32[b,8]',
      p50Ms,
      batch: { axes, size },
    });
    for (const one of [batch('one', 1, 1), batch('four', 4, 1.5), batch('other four', 4, 1.5)]) index.add(one);
    index.begin('four');
    const key = classKey(batch('one', 1, 1));
    const picked = [1, 2, 4, 5].map((items) => index.pick(key, items, false)?.id);
    expect(picked).toEqual(['one', 'other four', 'other four', 'other four']);
    expect(index.largestBatch).toBe(4);
    expect(index.pick(key, 1, true)).toBeNull();
    index.add({ ...batch('padded', 4, 9), pad: { axes: [], digest: '' } });
    expect(index.pick(key, 1, true)?.id).toBe('padded');
    expect([index.serves(key, true), index.serves(KEY, true)]).toEqual([true, false]);
  });
});
