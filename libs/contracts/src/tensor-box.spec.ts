import { describe, expect, it } from 'vitest';
import type { NamedTensor } from './tensor.js';
import { copyBox, cropTensor, fillBox, joinAxis, sliceAxis } from './tensor-box.js';

/** Deterministic draws: the same cases in every run. */
function draws(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >>> 8) % limit;
  };
}

function counted(dims: number[], dtype: 'uint8' | 'uint16' = 'uint16'): NamedTensor {
  const count = dims.reduce((a, b) => a * b, 1);
  const values = dtype === 'uint8' ? new Uint8Array(count) : new Uint16Array(count);
  for (let at = 0; at < count; at += 1) values[at] = at + 1;
  return { name: 't', dtype, dims, data: new Uint8Array(values.buffer) };
}

const values = ({ data }: NamedTensor) => Array.from(new Uint16Array(new Uint8Array(data).buffer));

/** Element at an index, by the definition of row-major. */
function read(tensor: NamedTensor, index: readonly number[]): number {
  const flat = index.reduce((sum, place, axis) => sum * (tensor.dims[axis] ?? 1) + place, 0);
  return values(tensor)[flat] ?? Number.NaN;
}

function* indices(size: readonly number[]): Generator<number[]> {
  const [first, ...rest] = size;
  if (first === undefined) {
    yield [];
    return;
  }
  for (let at = 0; at < first; at += 1) for (const tail of indices(rest)) yield [at, ...tail];
}

describe('copyBox and fillBox', () => {
  it('copy and fill exactly the box, for any rank, place and size', () => {
    const draw = draws(7);
    for (let round = 0; round < 300; round += 1) {
      const rank = draw(5);
      const size = Array.from({ length: rank }, () => draw(4));
      const side = () => {
        const at = size.map(() => draw(3));
        return { at, dims: size.map((extent, axis) => extent + (at[axis] ?? 0) + draw(3)) };
      };
      const [to, from] = [side(), side()];
      const source = counted(from.dims);
      const target = { ...counted(to.dims), data: new Uint8Array(counted(to.dims).data.byteLength) };
      copyBox({ data: target.data, ...to }, { data: source.data, ...from }, size, 2);
      let copied = 0;
      for (const index of indices(size)) {
        const here = index.map((place, axis) => place + (to.at[axis] ?? 0));
        const there = index.map((place, axis) => place + (from.at[axis] ?? 0));
        expect(read(target, here)).toBe(read(source, there));
        copied += 1;
      }
      expect(values(target).filter((value) => value !== 0)).toHaveLength(copied);
      fillBox({ data: target.data, ...to }, size, Uint8Array.of(0xfe, 0xff));
      expect(values(target).filter((value) => value === 0xfffe)).toHaveLength(copied);
      fillBox({ data: target.data, ...to }, size, Uint8Array.of(0, 0));
      expect(values(target).every((value) => value === 0)).toBe(true);
    }
  });
});

describe('sliceAxis and joinAxis', () => {
  it('give the tensor back that was cut, wherever it was cut', () => {
    const draw = draws(11);
    for (let round = 0; round < 200; round += 1) {
      const dims = Array.from({ length: 1 + draw(4) }, () => 1 + draw(4));
      const axis = draw(dims.length);
      const whole = counted(dims);
      const parts: NamedTensor[] = [];
      const size = dims[axis] ?? 1;
      for (let from = 0; from < size; ) {
        const count = Math.min(size - from, 1 + draw(3));
        parts.push(sliceAxis(whole, axis, from, count));
        from += count;
      }
      const joined = joinAxis(parts, axis);
      expect(joined.dims).toEqual(dims);
      expect(values(joined)).toEqual(values(whole));
    }
  });

  it('does not copy what lies together', () => {
    const whole = counted([1, 4, 3]);
    expect(sliceAxis(whole, 1, 1, 2).data.buffer).toBe(whole.data.buffer);
    expect(sliceAxis(whole, 0, 0, 1)).toBe(whole);
    // Bytes that lie elsewhere are read by whoever looks at them: a whole tensor goes on as it is.
    const elsewhere = {
      ...whole,
      get data(): Uint8Array {
        throw new Error('read');
      },
    };
    expect(sliceAxis(elsewhere, 0, 0, 1)).toBe(elsewhere);
    expect(() => sliceAxis(elsewhere, 1, 0, 1)).toThrow('read');
    expect(sliceAxis(whole, 2, 1, 1).data.buffer).not.toBe(whole.data.buffer);
  });

  it('refuses strings, places that are not there and parts that do not fit', () => {
    const strings: NamedTensor = { name: 's', dtype: 'string', dims: [2], data: new Uint8Array(8) };
    expect(() => sliceAxis(strings, 0, 0, 1)).toThrow('strings');
    expect(() => sliceAxis(counted([2]), 0, 1, 2)).toThrow('has 2 places');
    expect(() => joinAxis([counted([2, 2]), counted([2, 3])], 0)).toThrow('differ');
  });
});

describe('cropTensor', () => {
  it('keeps the corner', () => {
    expect(values(cropTensor(counted([2, 3]), [2, 2]))).toEqual([1, 2, 4, 5]);
    expect(() => cropTensor(counted([2, 3]), [2, 4])).toThrow('holds no [2,4]');
  });
});
