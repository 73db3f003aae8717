import { describe, expect, it } from 'vitest';
import { parseOptionText } from './session-options.js';
import { freeDimensionsOf, isConcrete, pickOutputs } from './tensors.js';

describe('free dimensions', () => {
  it('are the sizes of the symbolic ones; fixed and anonymous ones have none', () => {
    const metadata = {
      inputs: [
        { name: 'a', dtype: 'float32' as const, dims: ['B', 3, -1] },
        { name: 'b', dtype: 'float32' as const, dims: [2, 'B', 'T'] },
      ],
      outputs: [],
    };
    const inputs = [
      { name: 'a', dtype: 'float32' as const, dims: [4, 3, 9] },
      { name: 'b', dtype: 'float32' as const, dims: [2, 4, 7] },
    ];
    expect(freeDimensionsOf(metadata, inputs)).toEqual({ B: 4, T: 7 });
    expect(() => freeDimensionsOf(metadata, inputs.slice(1))).toThrow("missing input 'a'");
  });
});

describe('outputs', () => {
  it('are all, or the wanted ones in the wanted order', () => {
    expect(pickOutputs(['p', 'q'], null)).toEqual([0, 1]);
    expect(pickOutputs(['p', 'q'], ['q', 'p'])).toEqual([1, 0]);
    expect(() => pickOutputs(['p'], ['r'])).toThrow("unknown output 'r'");
  });

  it('have a known shape or not', () => {
    expect([isConcrete([]), isConcrete([1, 0]), isConcrete([1, -1]), isConcrete([1, 'N'])]).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});

describe('options as text', () => {
  it('are read back', () => {
    expect(parseOptionText('device_id=0;use_tf32=1;user_compute_stream=')).toEqual({
      device_id: '0',
      use_tf32: '1',
      user_compute_stream: '',
    });
    expect(parseOptionText('')).toEqual({});
  });
});
