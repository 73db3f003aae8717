import { type ModelMetadata, modelConfigSchema, padPlanOf, parseShapeKey, printShapeKey } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { padChecks } from './pad-checks.js';

const metadata: ModelMetadata = {
  inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 'H', 'W'] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 'H', 'W'] }],
};

function shapes(pad: unknown, key: string): { first: string[]; others: string[] } {
  const plan = padPlanOf(metadata, modelConfigSchema.parse({ pad }), null);
  if (plan === null) throw new Error('no plan');
  const { first, others } = padChecks(plan, metadata, parseShapeKey(key));
  return { first: first.map(printShapeKey), others: others.map(printShapeKey) };
}

describe('padChecks', () => {
  it('looks at the largest, middle and smallest sizes of a bucket and at the smallest of all', () => {
    const { first, others } = shapes({ x: { axis: 2, to: [16, 32] } }, 'x:float32[1,8,32]');
    expect(first).toEqual(['x:float32[1,8,31]', 'x:float32[1,8,24]', 'x:float32[1,8,17]', 'x:float32[1,8,1]']);
    expect(others).toContain('x:float32[1,8,28]');
    expect(others).not.toContain('x:float32[1,8,24]');
  });

  it('looks at each axis alone and at all together', () => {
    const pad = [{ x: { axis: 1, to: [8] } }, { x: { axis: 2, to: [16] } }];
    expect(shapes(pad, 'x:float32[1,8,16]').first).toEqual([
      'x:float32[1,7,15]',
      'x:float32[1,4,8]',
      'x:float32[1,1,1]',
      'x:float32[1,7,16]',
      'x:float32[1,1,16]',
      'x:float32[1,8,15]',
      'x:float32[1,8,1]',
    ]);
  });

  it('finds nothing for a bucket of 1', () => {
    expect(shapes({ x: { axis: 2, to: [1] } }, 'x:float32[1,8,1]').first).toEqual([]);
  });
});
