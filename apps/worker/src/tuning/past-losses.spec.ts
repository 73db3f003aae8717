import { parseModelOptions, type TuningDoc, type TuningStep } from '@warmlane/contracts';
import { canonicalOptions } from '@warmlane/lanes';
import { describe, expect, it } from 'vitest';
import type { LaneSpec } from '../lanes/lane.js';
import { PastLosses } from './past-losses.js';

const key = { environment: 'env', modelDigest: 'digest', basis: 'now', shapeKey: 'x:float32[1]' };
const target = { key, spec: { provider: 'cpu' } as LaneSpec };
const step: TuningStep = { worker: 'w', candidate: 'threads-1', shapeKey: key.shapeKey, deaths: 0, since: '' };
const canonical = (options: Record<string, number>) => canonicalOptions('cpu', parseModelOptions('cpu', options));
const ONE = canonical({ intra_op_num_threads: 1 });

const doc = (over: Partial<TuningDoc>): TuningDoc => ({
  ...key,
  basis: 'before',
  model: 'm',
  version: '1',
  provider: 'cpu',
  device: 'cpu',
  state: 'done',
  chosen: null,
  candidates: [
    {
      name: 'another-name',
      options: { intra_op_num_threads: 1 },
      outcome: 'crashed',
      firstMs: null,
      p50Ms: null,
      p99Ms: null,
      relativeError: null,
      memoryBytes: null,
      reason: 'SIGSEGV',
      signal: 'SIGSEGV',
    },
  ],
  worker: 'w',
  updatedAt: '',
  ...over,
});

describe('PastLosses', () => {
  it('a trial that was open when its worker died is tried once more, then it has crashed', () => {
    expect(new PastLosses([], step).of(target, 'threads-1', ONE)).toMatchObject({ final: false, deaths: 1 });
    expect(new PastLosses([], { ...step, deaths: 1 }).of(target, 'threads-1', ONE)).toMatchObject({
      final: true,
      end: { outcome: 'crashed' },
    });
    expect(new PastLosses([], step).of(target, 'threads-2', '')).toBeNull();
    const elsewhere = { ...target, key: { ...key, shapeKey: 'x:float32[2]' } };
    expect(new PastLosses([], step).of(elsewhere, 'threads-1', ONE)).toBeNull();
    expect(new PastLosses([], null).of(target, 'threads-1', ONE)).toBeNull();
  });

  it('what crashed under other settings is not tried again under any name, and only where it crashed', () => {
    expect(new PastLosses([doc({})], null).of(target, 'threads-1', ONE)).toMatchObject({
      final: true,
      end: { outcome: 'crashed', signal: 'SIGSEGV', reason: expect.stringContaining('not tried again: SIGSEGV') },
    });
    expect(new PastLosses([doc({})], null).of(target, 'x', canonical({ intra_op_num_threads: 2 }))).toBeNull();
    expect(new PastLosses([doc({ environment: 'other' })], null).of(target, 'threads-1', ONE)).toBeNull();
    expect(new PastLosses([doc({ shapeKey: 'other' })], null).of(target, 'threads-1', ONE)).toBeNull();
  });
});
