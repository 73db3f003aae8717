import { modelConfigSchema, type NamedTensor, padPlanOf } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { toFloat16 } from './half.js';
import { hollowPadding, oneSided } from './one-sided.js';
import { finish } from './sliced.js';

function planOf(dtype: NamedTensor['dtype'], value: number) {
  const infos = { inputs: [{ name: 'x', dtype, dims: ['T'] }], outputs: [{ name: 'y', dtype, dims: ['T'] }] };
  const plan = padPlanOf(infos, modelConfigSchema.parse({ pad: { x: { axis: 0, to: [8], value } } }), null);
  if (plan === null) throw new Error('no plan');
  return plan;
}

function tensorOf(dtype: NamedTensor['dtype'], array: Float32Array | Uint16Array | BigInt64Array): NamedTensor {
  const data = new Uint8Array(array.buffer.slice(0));
  return { name: 'x', dtype, dims: [array.length], data };
}

const floats = (...values: number[]) => tensorOf('float32', Float32Array.from(values));
const floatsIn = (tensor: NamedTensor | undefined) => [...new Float32Array(tensor?.data.slice().buffer ?? [])];

describe('oneSided', () => {
  it('replaces the values of the other side by those of this one', () => {
    const inputs = [floats(1, -2, 0, -3, 4)];
    const plan = planOf('float32', 0);
    expect(floatsIn(finish(oneSided(inputs, plan, 'below'))?.[0])).toEqual([-2, -2, -3, -3, -2]);
    expect(floatsIn(finish(oneSided(inputs, plan, 'above'))?.[0])).toEqual([1, 1, 4, 1, 4]);
    expect(floatsIn(inputs[0])).toEqual([1, -2, 0, -3, 4]);
  });

  it('is nothing where it changes nothing or there is no such value', () => {
    const plan = planOf('float32', -10);
    expect(finish(oneSided([floats(1, -2)], plan, 'below'))).toBeNull();
    expect(finish(oneSided([floats(1, -2)], plan, 'above'))).toBeNull();
    expect(finish(oneSided([{ ...floats(1, -2), name: 'other' }], planOf('float32', 0), 'above'))).toBeNull();
  });

  it('reads halves and integers of 64 bits, from wherever their bytes begin', () => {
    const halves = tensorOf('float16', Uint16Array.from([1.5, -2].map(toFloat16)));
    expect(finish(oneSided([halves], planOf('float16', 0.5), 'above'))?.[0]?.data).toEqual(
      new Uint8Array(Uint16Array.from([1.5, 1.5].map(toFloat16)).buffer),
    );
    const longs = tensorOf('int64', BigInt64Array.from([5n, -7n, 0n]));
    const odd = new Uint8Array(longs.data.byteLength + 1);
    odd.set(longs.data, 1);
    const shifted = { ...longs, data: odd.subarray(1) };
    expect(finish(oneSided([shifted], planOf('int64', 0), 'below'))?.[0]?.data).toEqual(
      new Uint8Array(BigInt64Array.from([-7n, -7n, -7n]).buffer),
    );
  });
});

describe('hollowPadding', () => {
  it('names the input whose values are all those of its padding', () => {
    expect(finish(hollowPadding([floats(0, 0)], planOf('float32', 0)))).toMatch(/'x' hold only/);
    expect(finish(hollowPadding([floats(0.1)], planOf('float32', 0.1)))).toMatch(/'x' hold only/);
    expect(finish(hollowPadding([floats(0, 1)], planOf('float32', 0)))).toBeNull();
    expect(finish(hollowPadding([floats(0, 0)], planOf('float32', 1)))).toBeNull();
  });
});
