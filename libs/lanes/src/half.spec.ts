import { describe, expect, it } from 'vitest';
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from './half.js';

describe('half precision', () => {
  it('float16 is inverse over all its finite values', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 0x10000; bits += 1) {
      const value = fromFloat16(bits);
      if (!Number.isNaN(value) && toFloat16(value) !== bits) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
    expect(Number.isNaN(fromFloat16(toFloat16(Number.NaN)))).toBe(true);
  });

  it('float16 has the known values, rounds ties to even and overflows to infinity', () => {
    expect(fromFloat16(0x3c00)).toBe(1);
    expect(fromFloat16(0x7bff)).toBe(65504);
    expect(fromFloat16(0x0001)).toBe(2 ** -24);
    expect(toFloat16(0.1)).toBe(0x2e66);
    expect(toFloat16(1 + 2 ** -11)).toBe(0x3c00);
    expect(toFloat16(1 + 3 * 2 ** -11)).toBe(0x3c02);
    expect(toFloat16(65520)).toBe(0x7c00);
    expect(toFloat16(-1e9)).toBe(0xfc00);
    expect(toFloat16(2 ** -25)).toBe(0);
    expect(toFloat16(2 ** -25 * 1.01)).toBe(1);
    expect(toFloat16(2 ** -30)).toBe(0);
  });

  it('bfloat16 is the upper half of a float32, rounded to even', () => {
    for (const bits of [0x0000, 0x3f80, 0xbf80, 0x7f80, 0x0001, 0x4049])
      expect(toBfloat16(fromBfloat16(bits))).toBe(bits);
    expect(fromBfloat16(0x4049)).toBe(3.140625);
    expect(toBfloat16(1 + 2 ** -8)).toBe(0x3f80);
    expect(toBfloat16(1 + 3 * 2 ** -8)).toBe(0x3f82);
    expect(Number.isNaN(fromBfloat16(toBfloat16(Number.NaN)))).toBe(true);
  });
});
