import { encodeStrings, type ModelMetadata, type NamedTensor } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { batchedOutputs, compareOutputs } from './compare.js';
import { toFloat16 } from './half.js';
import { finish } from './sliced.js';

const y = (values: number[], dims: number[] = [values.length], name = 'y'): NamedTensor => ({
  name,
  dtype: 'float32',
  dims,
  data: new Uint8Array(Float32Array.from(values).buffer),
});
const compare = (got: NamedTensor[], reference: NamedTensor[], batched: string[] = []) =>
  finish(compareOutputs(got, reference, new Set(batched)));
const errorOf = (got: NamedTensor[], reference: NamedTensor[], batched: string[] = []) =>
  compare(got, reference, batched)[0]?.error;

describe('compareOutputs', () => {
  it('is the relative L2 error, absolute where the reference is nothing', () => {
    expect(errorOf([y([3, 4])], [y([3, 4])])).toBe(0);
    expect(errorOf([y([3, 5])], [y([3, 4])])).toBeCloseTo(0.2, 6);
    expect(errorOf([y([0, 0.5])], [y([0, 0])])).toBeCloseTo(0.5, 6);
  });

  it('is that of the worst batch item', () => {
    const got = y([100, 100, 1, 2], [2, 2]);
    const reference = y([100, 100, 1, 1], [2, 2]);
    expect(errorOf([got], [reference], ['y'])).toBeCloseTo(1 / Math.SQRT2, 6);
    expect(errorOf([got], [reference])).toBeCloseTo(1 / Math.sqrt(20_002), 6);
  });

  it('allows NaN and Inf only where the reference has them', () => {
    const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
    expect(errorOf([y([nan, inf, -inf, 1])], [y([nan, inf, -inf, 1])])).toBe(0);
    expect(compare([y([1, nan])], [y([1, 2])])[0]).toMatchObject({
      error: inf,
      reason: "output 'y' is NaN at element 1, the reference's 2",
    });
    expect(errorOf([y([1, 2])], [y([1, nan])])).toBe(inf);
    expect(errorOf([y([inf])], [y([-inf])])).toBe(inf);
    expect(errorOf([y([1])], [y([inf])])).toBe(inf);
  });

  it('asks integers, bools and strings to be equal', () => {
    const ints = (value: number): NamedTensor => ({
      name: 'y',
      dtype: 'int32',
      dims: [1],
      data: new Uint8Array(Int32Array.of(value).buffer),
    });
    expect(errorOf([ints(5)], [ints(5)])).toBe(0);
    expect(compare([ints(5)], [ints(6)])[0]).toMatchObject({
      error: Number.POSITIVE_INFINITY,
      reason: "output 'y' differs from the reference's",
    });
    const text = (value: string): NamedTensor => ({
      name: 'y',
      dtype: 'string',
      dims: [1],
      data: encodeStrings([value]),
    });
    expect(errorOf([text('a')], [text('a')])).toBe(0);
    expect(errorOf([text('longer')], [text('a')])).toBe(Number.POSITIVE_INFINITY);
  });

  it('says where an output is missing or has another shape', () => {
    expect(compare([], [y([1])])[0]?.reason).toBe("output 'y' is missing");
    expect(compare([y([1, 2], [1, 2])], [y([1, 2])])[0]?.reason).toBe(
      "output 'y' is float32[1,2], the reference's float32[2]",
    );
  });

  it('reads half precision, doubles, and bytes that start anywhere', () => {
    const half = (values: number[]): NamedTensor => ({
      name: 'y',
      dtype: 'float16',
      dims: [values.length],
      data: new Uint8Array(Uint16Array.from(values, toFloat16).buffer),
    });
    expect(errorOf([half([3, 5])], [half([3, 4])])).toBeCloseTo(0.2, 3);
    const double = (values: number[]): NamedTensor => ({
      name: 'y',
      dtype: 'float64',
      dims: [values.length],
      data: new Uint8Array(Float64Array.from(values).buffer),
    });
    expect(errorOf([double([1 + 1e-9])], [double([1])])).toBeCloseTo(1e-9, 12);
    const shifted = Buffer.concat([Buffer.of(0), y([3, 5]).data]).subarray(1);
    expect(errorOf([{ ...y([3, 5]), data: shifted }], [y([3, 4])])).toBeCloseTo(0.2, 6);
  });
});

describe('batchedOutputs', () => {
  it('are those whose first axis has the symbol of an input’s first axis', () => {
    const metadata: ModelMetadata = {
      inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 3] }],
      outputs: [
        { name: 'y', dtype: 'float32', dims: ['N', 2] },
        { name: 'all', dtype: 'float32', dims: ['T', 2] },
        { name: 'unnamed', dtype: 'float32', dims: ['', 2] },
        { name: 'fixed', dtype: 'float32', dims: [1, 2] },
      ],
    };
    expect([...batchedOutputs(metadata)]).toEqual(['y']);
  });
});
