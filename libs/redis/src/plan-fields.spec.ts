import { describe, expect, it } from 'vitest';
import { encodeDeclared, encodeNamed, foldPlan } from './plan-fields.js';

const X = 'x:float32[1]';
const named = (id: string, over: object = {}): string =>
  encodeNamed({
    id,
    replicas: null,
    priority: 5,
    options: {},
    tune: false,
    addedAt: '2026-01-02T00:00:00.000Z',
    ...over,
  });

describe('foldPlan', () => {
  it('joins what declares, names and holds a shape', () => {
    const declared = { shapeKey: X, replicas: 2, priority: 5, required: true };
    expect(
      foldPlan({
        revision: '7',
        declared: 'digest',
        [`d ${X}`]: `1 ${encodeDeclared(declared, '2026-01-01T00:00:00.000Z')}`,
        [`w ${X} late`]: `7 ${named('late', { priority: 0, options: { a: 1 } })}`,
        [`w ${X} early`]: `3 ${named('early', { replicas: 4, priority: 9, options: { b: 2 } })}`,
        [`h ${X} w1`]: '1',
        [`h ${X} w0`]: '1',
      }),
    ).toEqual([
      {
        shapeKey: X,
        declared: true,
        warmups: ['early', 'late'],
        replicas: 4,
        priority: 0,
        required: true,
        options: { a: 1 },
        tune: false,
        addedAt: '2026-01-01T00:00:00.000Z',
        held: ['w0', 'w1'],
      },
    ]);
  });

  it('a shape that is only held back is not in the plan', () => {
    expect(foldPlan({ [`h ${X} w1`]: '1', revision: '1' })).toEqual([]);
  });
});
