import { describe, expect, it } from 'vitest';
import { bfloat16ToFloat32, float32ToBfloat16 } from './bfloat16.js';

const round = (value: number): number => bfloat16ToFloat32(float32ToBfloat16(new Float32Array([value])))[0] ?? 0;

describe('bfloat16', () => {
  it.each([0, -0, 1, -2, 1.0078125, 3.3895313892515355e38, Infinity, -Infinity])('keeps %d', (value) => {
    expect(round(value)).toBe(value);
  });
  it('rounds to nearest, ties to even', () => {
    expect(round(1 + 2 ** -8)).toBe(1);
    expect(round(1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6);
    expect(round(1 + 2 ** -8 + 2 ** -20)).toBe(1 + 2 ** -7);
    expect(round(3.4e38)).toBe(Infinity);
  });
  it('keeps a NaN, also one whose upper bits are empty', () => {
    expect(round(Number.NaN)).toBeNaN();
    const quiet = new Float32Array(new Uint32Array([0x7f800001]).buffer);
    expect(bfloat16ToFloat32(float32ToBfloat16(quiet))[0]).toBeNaN();
  });
});
