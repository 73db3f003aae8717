import { describe, expect, it } from 'vitest';
import {
  DTYPE_NAMES,
  datatypeOf,
  decodeStrings,
  dtypeOf,
  elementBytes,
  encodeStrings,
  isDType,
  tensorBytes,
} from './tensor.js';

describe('dtypes', () => {
  it('map to datatypes and back', () => {
    for (const name of DTYPE_NAMES) expect(dtypeOf(datatypeOf(name))).toBe(name);
    expect(dtypeOf('FP8')).toBeNull();
    expect(isDType('constructor')).toBe(false);
    expect(elementBytes('string')).toBeNull();
  });

  it('count bytes', () => {
    expect(tensorBytes({ dtype: 'float16', dims: [2, 3] }, 't')).toBe(12);
    expect(tensorBytes({ dtype: 'int64', dims: [] }, 't')).toBe(8);
    expect(tensorBytes({ dtype: 'float64', dims: [0, 9] }, 't')).toBe(0);
    expect(() => tensorBytes({ dtype: 'float64', dims: [2 ** 28] }, 't')).toThrow('bytes');
  });
});

describe('BYTES form', () => {
  it('holds empty and non-ASCII strings and raw bytes', () => {
    const raw = Uint8Array.from([0, 255, 128]);
    const decoded = decodeStrings(encodeStrings(['', 'ä€', raw]));
    expect(decoded.map((part) => Array.from(part))).toEqual([[], Array.from(Buffer.from('ä€')), [0, 255, 128]]);
  });

  it.each([[[1, 0, 0]], [[2, 0, 0, 0, 65]], [[255, 255, 255, 255]]])('refuses %j', (bytes) => {
    expect(() => decodeStrings(Uint8Array.from(bytes))).toThrow('malformed');
  });
});
