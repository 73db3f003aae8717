import { type DType, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { JsonReader, JsonSpan } from './json-reader.js';
import { decodeJsonTensor, readNumber } from './json-tensor.js';
import { encodeJsonTensor } from './json-writer.js';

/** Seeded PRNG (mulberry32): a failing case is the same in every run. */
function prng(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function decode(text: string, dtype: DType, dims: number[]): Uint8Array {
  const bytes = Buffer.from(text);
  const value = new JsonReader(bytes, () => true).read();
  if (!(value instanceof JsonSpan)) throw new Error('the text is not an array');
  return decodeJsonTensor(bytes, value, { name: 'x', dtype, dims });
}

function failure(run: () => unknown): WarmlaneError {
  try {
    run();
  } catch (error) {
    if (error instanceof WarmlaneError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const tensor = (dtype: DType, array: ArrayBufferView): NamedTensor => ({
  name: 'y',
  dtype,
  dims: [],
  data: new Uint8Array(array.buffer, array.byteOffset, array.byteLength),
});

describe('decodeJsonTensor', () => {
  it('takes flat, nested and ragged-looking white space alike', () => {
    const expected = new Uint8Array(new Float32Array([1, -2.5, 3e-3, 4]).buffer);
    for (const text of ['[1,-2.5,3e-3,4]', '[[1,-2.5],[3e-3,4]]', ' [ [ [1 , -2.5 ] ],\n[ [ 3E-3,\t4]]]']) {
      expect(decode(text.trim(), 'float32', [2, 2])).toEqual(expected);
    }
    expect(decode('[]', 'float32', [0, 3])).toHaveLength(0);
    expect(decode('[[],[]]', 'int64', [2, 0])).toHaveLength(0);
  });

  it('keeps 64-bit integers exact beyond 2^53', () => {
    const long = decode('[9007199254740993,-9223372036854775808,9223372036854775807,0,-0]', 'int64', [5]);
    expect([...new BigInt64Array(long.buffer)]).toEqual([9007199254740993n, -(2n ** 63n), 2n ** 63n - 1n, 0n, 0n]);
    const unsigned = decode('[18446744073709551615]', 'uint64', [1]);
    expect(new BigUint64Array(unsigned.buffer)[0]).toBe(2n ** 64n - 1n);
  });

  it('reads booleans and strings with their escapes as UTF-8', () => {
    expect([...decode('[true,false]', 'bool', [2])]).toEqual([1, 0]);
    const bytes = decode('["a","\\u00e9\\n","",  "😀"]', 'string', [4]);
    expect(Buffer.from(bytes).toString('hex')).toBe('0100000061' + '03000000c3a90a' + '00000000' + '04000000f09f9880');
  });

  it.each<[string, DType, number[], RegExp]>([
    ['[1,NaN]', 'float32', [2], /input 'x': 'NaN', which JSON cannot carry: use binary at position 3 \(element 1\)/],
    ['[-Infinity]', 'float64', [1], /'-Infinity', which JSON cannot carry.* at position 1 \(element 0\)/],
    ['[nan]', 'float32', [1], /'nan', which JSON cannot carry/],
    ['[1e400]', 'float64', [1], /'1e400' is out of the range of FP64 at position 1/],
    ['[3.5e38]', 'float32', [1], /'3.5e38' is out of the range of FP32/],
    ['[null]', 'float32', [1], /'null' is not a number/],
    ['["1"]', 'float32', [1], /a string is not a number/],
    ['[true]', 'float32', [1], /'true' is not a number/],
    ['[01]', 'int32', [1], /'01' is not a number/],
    ['[1.]', 'float32', [1], /'1\.' is not a number/],
    ['[.5]', 'float32', [1], /'\.5' is not a number/],
    ['[+1]', 'float32', [1], /'\+1' is not a number/],
    ['[0x10]', 'int32', [1], /'0x10' is not a number/],
    ['[-]', 'int32', [1], /'-' is not a number/],
    ['[1e5]', 'int32', [1], /'1e5' is not an integer/],
    ['[1.0]', 'int64', [1], /'1.0' is not an integer/],
    ['[128]', 'int8', [1], /'128' is out of the range of INT8/],
    ['[-1]', 'uint8', [1], /'-1' is out of the range of UINT8/],
    ['[65536]', 'uint16', [1], /out of the range of UINT16/],
    ['[-2147483649]', 'int32', [1], /out of the range of INT32/],
    ['[9223372036854775808]', 'int64', [1], /out of the range of INT64/],
    ['[-1]', 'uint64', [1], /out of the range of UINT64/],
    ['[18446744073709551616]', 'uint64', [1], /out of the range of UINT64/],
    ['[1]', 'bool', [1], /'1' is neither true nor false/],
    ['[1]', 'string', [1], /'1' at position 1 \(element 0\) is not a string/],
    ['["\\ud800"]', 'string', [1], /half of a surrogate pair/],
    ['[1,2]', 'float32', [3], /data has 2 elements, expected 3 for \[3\]/],
    ['[1,2,3,4]', 'float32', [3], /data has more than 3 elements, expected 3/],
    ['[1 2]', 'float32', [2], /expected ',' or '\]' at position 3/],
    ['[1,]', 'float32', [1], /a value after ','/],
    ['[,1]', 'float32', [1], /expected a value at position 1/],
    ['[[1][2]]', 'float32', [2], /expected ',' or '\]'/],
    ['[{}]', 'float32', [1], /an object in tensor data/],
    ['[1:2]', 'float32', [2], /expected ',' or '\]' at position 2/],
  ])('refuses %s as %s', (text, dtype, dims, message) => {
    const error = failure(() => decode(text, dtype, dims));
    expect(error.message).toMatch(message);
    expect(error.code).toBe('bad-request');
  });

  it.each(['float16', 'bfloat16'] as const)('refuses %s, which has no JSON form', (dtype) => {
    expect(failure(() => decode('[1]', dtype, [1])).message).toMatch(/has no JSON form/);
  });

  it('refuses an integer of 100,000 digits without the cost of reading it', () => {
    expect(failure(() => decode(`[${'9'.repeat(100_000)}]`, 'int64', [1])).message).toMatch(
      /out of the range of INT64/,
    );
  });

  it('takes 4 MiB and refuses one element more, naming binary', () => {
    const count = 2 ** 20;
    const text = `[${'0,'.repeat(count - 1)}0]`;
    expect(decode(text, 'float32', [count])).toHaveLength(4 * count);
    const error = failure(() => decode(`[${'0,'.repeat(count)}0]`, 'float32', [count + 1]));
    expect(error.code).toBe('too-large');
    expect(error.message).toContain('use binary');
    const strings = `["${'x'.repeat(4 * count)}"]`;
    expect(failure(() => decode(strings, 'string', [1])).code).toBe('too-large');
  });

  it('agrees with JSON.parse on random numbers', () => {
    const random = prng(7);
    for (let round = 0; round < 5_000; round += 1) {
      const scale = 10 ** Math.floor(random() * 40 - 20);
      const value = (random() - 0.5) * scale;
      const text = [String(value), value.toFixed(Math.floor(random() * 20)), value.toExponential(3)][round % 3] ?? '';
      const bytes = Buffer.from(text);
      expect(readNumber(bytes, 0, bytes.length), text).toBe(JSON.parse(text));
    }
  });

  it('agrees with JSON.parse on which damaged texts are JSON', () => {
    const random = prng(11);
    const alphabet = '[],-.0123456789eE+ "\\utrnfals{}:';
    const pick = () => alphabet[Math.floor(random() * alphabet.length)] ?? '';
    for (let round = 0; round < 20_000; round += 1) {
      let text = '[[1.5,-2e3],[0,"a\\n"],[true,null]]';
      for (let edit = 0; edit < 1 + random() * 3; edit += 1) {
        const at = Math.floor(random() * text.length);
        text = text.slice(0, at) + (random() < 0.7 ? pick() : '') + text.slice(at + (random() < 0.5 ? 1 : 0));
      }
      const ours = attempt(() => new JsonReader(Buffer.from(text), () => false).read());
      expect(ours, JSON.stringify(text)).toBe(attempt(() => JSON.parse(text)));
    }
  });

  it('never fails otherwise than by a typed error, and never takes what JSON.parse refuses', () => {
    const random = prng(3);
    const alphabet = '[],-.019eE+ "\\tf';
    for (let round = 0; round < 20_000; round += 1) {
      let text = '[[1.5,-2e3],[0,4]]';
      for (let edit = 0; edit < 1 + random() * 3; edit += 1) {
        const at = 1 + Math.floor(random() * (text.length - 1));
        text = text.slice(0, at) + (alphabet[Math.floor(random() * alphabet.length)] ?? '') + text.slice(at + 1);
      }
      let decoded: Uint8Array | null = null;
      try {
        decoded = decode(text, 'float64', [4]);
      } catch (error) {
        if (!(error instanceof WarmlaneError) && !(error instanceof Error && error.message.includes('not an array')))
          throw error;
      }
      if (decoded !== null) {
        const flat = (JSON.parse(text) as unknown[]).flat(Number.POSITIVE_INFINITY);
        expect([...new Float64Array(decoded.buffer)], text).toEqual(flat);
      }
    }
  });
});

function attempt(run: () => unknown): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (error instanceof WarmlaneError || error instanceof SyntaxError) return false;
    throw error;
  }
}

describe('encodeJsonTensor', () => {
  it('is the inverse of decodeJsonTensor', () => {
    const random = prng(5);
    const floats = Float32Array.from({ length: 500 }, () => (random() - 0.5) * 10 ** Math.floor(random() * 60 - 30));
    expect(new Float32Array(decode(encodeJsonTensor(tensor('float32', floats)), 'float32', [500]).buffer)).toEqual(
      floats,
    );
    const longs = BigInt64Array.from({ length: 500 }, () => BigInt(Math.floor(random() * 2 ** 52)) * 2047n - 2n ** 62n);
    expect(new BigInt64Array(decode(encodeJsonTensor(tensor('int64', longs)), 'int64', [500]).buffer)).toEqual(longs);
  });

  it('reads bytes that begin at an odd offset', () => {
    const bytes = new Uint8Array(9);
    bytes.set(new Uint8Array(new Float64Array([0.1]).buffer), 1);
    expect(encodeJsonTensor({ name: 'y', dtype: 'float64', dims: [1], data: bytes.subarray(1) })).toBe('[0.1]');
  });

  it('writes booleans, unsigned integers and strings', () => {
    expect(encodeJsonTensor(tensor('bool', new Uint8Array([0, 1])))).toBe('[false,true]');
    expect(encodeJsonTensor(tensor('uint64', new BigUint64Array([2n ** 64n - 1n])))).toBe('[18446744073709551615]');
    expect(encodeJsonTensor(tensor('string', Buffer.alloc(4)))).toBe('[""]');
  });

  it.each<[string, NamedTensor, RegExp]>([
    ['NaN', tensor('float32', new Float32Array([0, Number.NaN])), /output 'y' holds NaN at element 1.*use binary/],
    ['infinity', tensor('float64', new Float64Array([-Infinity])), /holds -Infinity at element 0/],
    ['FP16', tensor('float16', new Uint16Array([1])), /is FP16.*use binary/],
    ['BF16', tensor('bfloat16', new Uint16Array([1])), /is BF16.*use binary/],
    ['text that is not UTF-8', tensor('string', Buffer.from([1, 0, 0, 0, 0xff])), /not UTF-8.*use binary/],
  ])('refuses %s', (_, given, message) => {
    expect(failure(() => encodeJsonTensor(given)).message).toMatch(message);
  });

  it('refuses more than 4 MiB', () => {
    expect(failure(() => encodeJsonTensor(tensor('int8', new Int8Array(4 * 2 ** 20 + 1)))).code).toBe('too-large');
  });
});
