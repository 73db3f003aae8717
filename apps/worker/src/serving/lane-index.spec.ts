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

describe('LaneIndex', () => {
  it('finds the least busy lane of a shape', () => {
    const index = new LaneIndex();
    index.add(lane('a', 8));
    index.add(lane('b', 8));
    index.add(lane('c', 16));
    const key = laneKey(lane('a', 8));
    index.begin('a');
    expect(index.pick(key)?.id).toBe('b');
    index.end('a');
    index.begin('b');
    expect(index.pick(key)?.id).toBe('a');
    expect(index.pick('cls/1/x:float32[1,32]')).toBeNull();
  });

  it('is idle when the last run of a removed lane has ended', async () => {
    const index = new LaneIndex();
    index.add(lane('a', 8));
    index.begin('a');
    index.remove('a');
    expect(index.has(laneKey(lane('a', 8)))).toBe(false);
    let idle = false;
    const waiting = index.idle('a').then(() => {
      idle = true;
    });
    await Promise.resolve();
    expect(idle).toBe(false);
    index.end('a');
    await waiting;
    await index.idle('a');
  });
});
