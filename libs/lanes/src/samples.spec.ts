import { decodeStrings, type ModelConfig, type TensorSpec } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import type { NpyArray } from './npy.js';
import { padBytes } from './sample-values.js';
import { hasDistinctItems, makeSamples, type SampleSource } from './samples.js';
import { finish } from './sliced.js';

const x: TensorSpec = { name: 'x', dtype: 'float32', dims: [2, 5] };
const ids: TensorSpec = { name: 'ids', dtype: 'int64', dims: [1, 4] };
const source = (inputs: ModelConfig['inputs'] = {}, files: SampleSource['files'] = new Map()): SampleSource => ({
  digest: 'd',
  inputs,
  files,
});
const make = (specs: TensorSpec[], from = source()) => finish(makeSamples(specs, from));
const floats = (data: Uint8Array | undefined) => [...new Float32Array(new Uint8Array(data ?? []).buffer)];
const longs = (data: Uint8Array | undefined) => [...new BigInt64Array(new Uint8Array(data ?? []).buffer)].map(Number);
const file = (dtype: NpyArray['dtype'], dims: number[], data: Uint8Array) =>
  new Map([['a.npy', { array: { dtype, dims, data }, sha256: 's' }]]);

describe('makeSamples', () => {
  it('guesses floats in [-1, 1] and 0 and 1 for the rest, two different samples, the same every time', () => {
    const set = make([x, ids]);
    expect(set).toMatchObject({ inputs: 'guessed' });
    expect(set.samples).toHaveLength(2);
    const values = set.samples.flatMap((sample) => floats(sample.inputs[0]?.data));
    expect(Math.min(...values)).toBeGreaterThanOrEqual(-1);
    expect(Math.max(...values)).toBeLessThan(1);
    expect(new Set(values).size).toBe(20);
    expect(set.samples.map((sample) => longs(sample.inputs[1]?.data))).toEqual([
      [0, 1, 0, 1],
      [1, 0, 1, 0],
    ]);
    expect(make([x, ids])).toEqual(set);
    expect(new Set(set.samples.map((sample) => sample.cacheKey)).size).toBe(2);
  });

  it('differs by model and shape', () => {
    const base = floats(make([x]).samples[0]?.inputs[0]?.data);
    expect(floats(finish(makeSamples([x], { ...source(), digest: 'e' })).samples[0]?.inputs[0]?.data)).not.toEqual(
      base,
    );
    const wider = make([{ ...x, dims: [2, 6] }]).samples[0];
    expect(floats(wider?.inputs[0]?.data).slice(0, 10)).not.toEqual(base);
    expect(wider?.cacheKey).not.toBe(make([x]).samples[0]?.cacheKey);
  });

  it('does what the configuration says; one sample where nothing is random', () => {
    const set = make([x, ids], source({ x: { zeros: true }, ids: { values: [7, 8] } }));
    expect(set).toMatchObject({ inputs: 'declared' });
    expect(set.samples).toHaveLength(1);
    expect(longs(set.samples[0]?.inputs[1]?.data)).toEqual([7, 8, 7, 8]);
    expect(floats(set.samples[0]?.inputs[0]?.data)).toEqual(Array(10).fill(0));
    const random = make([{ ...ids, dims: [1000] }], source({ ids: { random: [3, 5] } }));
    expect(new Set(longs(random.samples[0]?.inputs[0]?.data))).toEqual(new Set([3, 4, 5]));
    expect(random.samples).toHaveLength(2);
    expect(make([ids], source({ ids: { random: [3, 3] } })).samples).toHaveLength(1);
  });

  it('writes every dtype in its own form', () => {
    const bytes = (dtype: TensorSpec['dtype'], value: number | boolean) => [
      ...(make([{ name: 'v', dtype, dims: [1] }], source({ v: { values: [value] } })).samples[0]?.inputs[0]?.data ??
        []),
    ];
    expect(bytes('bool', true)).toEqual([1]);
    expect(bytes('int8', -1)).toEqual([255]);
    expect(bytes('uint16', 258)).toEqual([2, 1]);
    expect(bytes('int64', -2)).toEqual([254, 255, 255, 255, 255, 255, 255, 255]);
    expect(bytes('uint64', 2 ** 40)).toEqual([0, 0, 0, 0, 0, 1, 0, 0]);
    expect(bytes('float16', 1)).toEqual([0x00, 0x3c]);
    expect(bytes('bfloat16', 1)).toEqual([0x80, 0x3f]);
    expect(bytes('float64', 1)).toEqual([0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    const words = make([{ name: 'v', dtype: 'string', dims: [3] }], source({ v: { values: ['a', 'bc'] } }));
    expect(decodeStrings(words.samples[0]?.inputs[0]?.data ?? new Uint8Array()).map(String)).toEqual(['a', 'bc', 'a']);
  });

  it('takes files of the exact shape, and of one axis more for several samples', () => {
    const one = new Uint8Array(Float32Array.from({ length: 10 }, (_, at) => at).buffer);
    const single = make([x], source({ x: { file: 'a.npy' } }, file('float32', [2, 5], one)));
    expect(single.samples.map((sample) => floats(sample.inputs[0]?.data))).toEqual([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]);
    const both = Buffer.concat([one, new Uint8Array(40)]);
    const two = make([x], source({ x: { file: 'a.npy' } }, file('float32', [2, 2, 5], both)));
    expect(two.samples.map((sample) => floats(sample.inputs[0]?.data)[9])).toEqual([9, 0]);
  });

  it('refuses what does not fit, naming it', () => {
    const refuse = (spec: TensorSpec, from: SampleSource, text: string) =>
      expect(() => make([spec], from)).toThrow(text);
    refuse(x, source({ z: { zeros: true } }), "inputs: the model has no input 'z'");
    refuse(ids, source({ ids: { values: [1.5] } }), "'ids' is int64, it cannot hold 1.5");
    refuse({ ...ids, dtype: 'uint8' }, source({ ids: { random: [0, 300] } }), "'ids' is uint8, it cannot hold 300");
    refuse(x, source({ x: { values: ['a'] } }), "'x' is float32, 'a' is a string");
    refuse({ ...x, dtype: 'string' }, source({ x: { random: [0, 1] } }), 'cannot be random');
    refuse(
      x,
      source({ x: { file: 'a.npy' } }, file('float32', [2, 4], new Uint8Array(32))),
      'is float32[2,4], the lane needs float32[2,5]',
    );
    refuse(x, source({ x: { file: 'a.npy' } }, file('int64', [2, 5], new Uint8Array(80))), 'is int64[2,5]');
    refuse(x, source({ x: { file: 'a.npy' } }), 'was not read');
  });

  it('yields while it works on a large tensor', () => {
    const work = makeSamples([{ ...x, dims: [1024, 1024] }], source());
    let yields = 0;
    while (work.next().done !== true) yields += 1;
    expect(yields).toBe(32);
  });
});

describe('samples of a batch', () => {
  const axes = { inputs: { x: 0 }, outputs: {} };
  const batch = (rows: number, from = source()) =>
    finish(
      makeSamples(
        [
          { ...x, dims: [rows, 5] },
          { name: 'sr', dtype: 'int64', dims: [2] },
        ],
        from,
        axes,
      ),
    );

  it('are put together from single items, the same ones for every size', () => {
    const [first, second] = batch(3).samples;
    expect(first?.items).toHaveLength(3);
    expect(first?.inputs[0]?.dims).toEqual([3, 5]);
    const rows = first?.items?.flatMap((item) => floats(item.inputs[0]?.data));
    expect(floats(first?.inputs[0]?.data)).toEqual(rows);
    expect(new Set(rows).size).toBe(15);
    expect(batch(2).samples[0]?.items).toEqual(first?.items?.slice(0, 2));
    // One place on: no item stands where it stood in the first.
    expect(floats(second?.items?.[0]?.inputs[0]?.data)).toEqual(floats(first?.items?.[1]?.inputs[0]?.data));
    expect(hasDistinctItems(first ?? { items: null })).toBe(true);
  });

  it('have one value for all items where an input has no batch axis', () => {
    const [first] = batch(3, source({ sr: { random: [0, 1_000_000] } })).samples;
    const rates = first?.items?.map((item) => longs(item.inputs[1]?.data).join());
    expect(new Set(rates).size).toBe(1);
    expect(first?.inputs[1]?.dims).toEqual([2]);
  });

  it('differ for guessed integers and lists of values, and say where they cannot', () => {
    const make = (inputs: ModelConfig['inputs']) =>
      finish(makeSamples([{ ...ids, dims: [4, 4] }], source(inputs), { inputs: { ids: 0 }, outputs: {} })).samples[0];
    const distinct = (inputs: ModelConfig['inputs']) => hasDistinctItems(make(inputs) ?? { items: null });
    expect(distinct({})).toBe(true);
    expect(distinct({ ids: { values: [1, 2, 3] } })).toBe(true);
    expect(distinct({ ids: { zeros: true } })).toBe(false);
  });

  it('take a file of one item, of several, or of a batch', () => {
    const two = Uint8Array.from(new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer));
    const specs = [{ ...x, dims: [3, 2] }];
    for (const dims of [
      [2, 2],
      [2, 1, 2],
    ]) {
      const from = source({ x: { file: 'a.npy' } }, file('float32', dims, two));
      const [first] = finish(makeSamples(specs, from, axes)).samples;
      expect(floats(first?.inputs[0]?.data)).toEqual([1, 2, 3, 4, 1, 2]);
    }
  });
});

describe('padBytes', () => {
  it('gives the bytes of one element, and refuses what the dtype cannot hold', () => {
    expect(padBytes({ name: 'x', dtype: 'float32' }, 1)).toEqual([0, 0, 0x80, 0x3f]);
    expect(padBytes({ name: 'x', dtype: 'float16' }, 1)).toEqual([0, 0x3c]);
    expect(padBytes({ name: 'x', dtype: 'int64' }, -1)).toEqual(Array(8).fill(255));
    expect(() => padBytes({ name: 'x', dtype: 'uint8' }, -1)).toThrow("pad: 'x' is uint8, it cannot hold -1");
    expect(() => padBytes({ name: 'x', dtype: 'string' }, 0)).toThrow('holds strings');
  });
});
