import { describe, expect, it } from 'vitest';
import { checkInputs, checkOutputs, checkShapeKey, type ModelMetadata } from './model-metadata.js';
import { encodeStrings, type NamedTensor } from './tensor.js';

const metadata: ModelMetadata = {
  inputs: [
    { name: 'x', dtype: 'float32', dims: ['N', 3, 'H', -1] },
    { name: 'mask', dtype: 'bool', dims: ['N', ''] },
  ],
  outputs: [
    { name: 'y', dtype: 'float32', dims: ['N', 2] },
    { name: 'z', dtype: 'int64', dims: [] },
  ],
};
const x = (dims: number[], data = new Uint8Array(dims.reduce((a, b) => a * b, 4))): NamedTensor => ({
  name: 'x',
  dtype: 'float32',
  dims,
  data,
});
const mask = (dims: number[]): NamedTensor => ({
  name: 'mask',
  dtype: 'bool',
  dims,
  data: new Uint8Array(dims.reduce((a, b) => a * b, 1)),
});

describe('inputs against the model', () => {
  it('orders them as the model does and prints their key', () => {
    const { key, inputs } = checkInputs(metadata, [mask([2, 7]), x([2, 3, 4, 5])]);
    expect(key).toBe('x:float32[2,3,4,5];mask:bool[2,7]');
    expect(inputs.map((input) => input.name)).toEqual(['x', 'mask']);
  });

  it.each([
    ['unknown name', [x([1, 3, 1, 1]), { ...mask([1, 1]), name: 'musk' }], "unknown input 'musk'"],
    ['missing', [x([1, 3, 1, 1])], "missing input 'mask'"],
    ['given twice', [x([1, 3, 1, 1]), x([1, 3, 1, 1])], "input 'x' is given twice"],
    [
      'dtype',
      [{ ...x([1, 3, 1, 1]), dtype: 'float64' as const }, mask([1, 1])],
      "input 'x': dtype float64, expected float32",
    ],
    ['rank', [x([3, 1, 1]), mask([1, 1])], "input 'x': rank 3"],
    ['fixed dimension', [x([1, 4, 1, 1]), mask([1, 1])], "input 'x': dimension 1 is 4, expected 3"],
    ['negative dimension', [x([1, 3, -1, 1], new Uint8Array(0)), mask([1, 1])], 'dimension -1'],
    ['huge dimension', [x([1, 3, 2 ** 40, 1], new Uint8Array(0)), mask([1, 1])], 'elements'],
    ['two sizes of one symbol', [x([1, 3, 1, 1]), mask([2, 1])], "dimension 0 ('N') is 2, but 1 in input 'x'"],
    ['too few bytes', [x([1, 3, 1, 2], new Uint8Array(23)), mask([1, 1])], 'got 23 bytes, expected 24'],
    ['too many bytes', [x([1, 3, 1, 2], new Uint8Array(25)), mask([1, 1])], 'got 25 bytes, expected 24'],
  ])('refuses %s', (_what, given, message) => {
    expect(() => checkInputs(metadata, given)).toThrow(message);
  });

  it('accepts a dimension of zero', () => {
    expect(checkInputs(metadata, [x([0, 3, 4, 5]), mask([0, 1])]).key).toBe('x:float32[0,3,4,5];mask:bool[0,1]');
  });

  it('counts the elements of strings', () => {
    const strings: ModelMetadata = { inputs: [{ name: 's', dtype: 'string', dims: ['N'] }], outputs: [] };
    const tensor = (dims: number[], data: Uint8Array): NamedTensor => ({ name: 's', dtype: 'string', dims, data });
    const two = encodeStrings(['a', '']);
    expect(checkInputs(strings, [tensor([2], two)]).key).toBe('s:string[2]');
    expect(() => checkInputs(strings, [tensor([3], two)])).toThrow('2 elements, expected 3');
    expect(() => checkInputs(strings, [tensor([2], two.subarray(0, 6))])).toThrow('malformed BYTES');
  });

  it('checks a shape key in the same way and wants the model order', () => {
    expect(checkShapeKey(metadata, 'x:float32[1,3,2,2];mask:bool[1,4]').inputs).toHaveLength(2);
    expect(() => checkShapeKey(metadata, 'mask:bool[1,4];x:float32[1,3,2,2]')).toThrow('input order');
    expect(() => checkShapeKey(metadata, 'x:float32[1,3,2,2]')).toThrow("missing input 'mask'");
  });

  it('checks requested outputs', () => {
    expect(checkOutputs(metadata, null)).toEqual(['y', 'z']);
    expect(checkOutputs(metadata, ['z'])).toEqual(['z']);
    expect(() => checkOutputs(metadata, ['w'])).toThrow("unknown output 'w'");
    expect(() => checkOutputs(metadata, ['z', 'z'])).toThrow('requested twice');
  });
});
