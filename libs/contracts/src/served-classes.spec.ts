import { describe, expect, it } from 'vitest';
import { type ModelConfig, modelConfigSchema } from './model-config.js';
import type { ModelMetadata } from './model-metadata.js';
import { cropsOf, isPadTarget } from './padding.js';
import { exactClasses, itemsOf, paddedClasses, placementClassOf, servingRulesOf } from './served-classes.js';
import { parseShapeClass, parseShapeKey } from './shape-key.js';

const REC: ModelMetadata = {
  inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 3, 48, 'W'] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['M', 'T', 97] }],
};
const TWO: ModelMetadata = {
  inputs: [
    { name: 'a', dtype: 'float32', dims: ['B', 4] },
    { name: 'state', dtype: 'float32', dims: [2, 'B', 4] },
    { name: 'sr', dtype: 'int64', dims: [] },
  ],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['B', 4] }],
};

const config = (text: Record<string, unknown>): ModelConfig => modelConfigSchema.parse(text);
const rules = (metadata: ModelMetadata, text: Record<string, unknown>) => servingRulesOf(metadata, config(text));
const classes = (metadata: ModelMetadata, text: Record<string, unknown>, key: string) =>
  exactClasses(rules(metadata, text), key, parseShapeKey(key)).map(({ shapeClass }) => shapeClass);
const padded = (metadata: ModelMetadata, text: Record<string, unknown>, key: string, proven: string[]) =>
  paddedClasses(
    rules(metadata, text),
    parseShapeKey(key),
    proven.map((shapeClass) => ({ shapeClass, inputs: parseShapeClass(shapeClass) })),
  ).map(({ shapeClass }) => shapeClass);

describe('shape classes', () => {
  it('are the shape key where the model declares no batch', () => {
    expect(classes(REC, {}, 'x:float32[2,3,48,160]')).toEqual(['x:float32[2,3,48,160]']);
  });

  it('carry b on the declared axis of each input, wherever it is', () => {
    const batch = { axis: { a: 0, state: 1, y: 0 }, sizes: [1, 4] };
    const key = 'a:float32[3,4];state:float32[2,3,4];sr:int64[]';
    expect(classes(TWO, { batch }, key)).toEqual(['a:float32[b,4];state:float32[2,b,4];sr:int64[]', key]);
    expect(itemsOf(rules(TWO, { batch }), parseShapeKey(key))).toBe(3);
  });

  it('infer axis 0 from one free dimension that all inputs share', () => {
    const inferred = rules(REC, { batch: { sizes: [1] } });
    expect(inferred.batch).toEqual({ inputs: { x: 0 }, outputs: { y: 0 } });
    expect(() => rules(TWO, { batch: { sizes: [1] } })).toThrow('not one free dimension shared by all inputs');
  });

  it('are the shape key where the request has no size of batch', () => {
    const batch = { axis: { a: 0, state: 1 }, sizes: [1] };
    const odd = 'a:float32[3,4];state:float32[2,1,4];sr:int64[]';
    expect(classes(TWO, { batch }, odd)).toEqual([odd]);
    expect(classes(REC, { batch: { sizes: [1] } }, 'x:float32[0,3,48,160]')).toEqual(['x:float32[0,3,48,160]']);
  });

  it.each([
    [{ axis: { z: 0 }, sizes: [1] }, "the model has no 'z'"],
    [{ axis: { x: 1 }, sizes: [1] }, "axis 1 of 'x' is no free dimension"],
    [{ axis: { x: 9 }, sizes: [1] }, "axis 9 of 'x' is no free dimension"],
    [{ axis: { y: 0 }, sizes: [1] }, 'no input has a batch axis'],
  ])('refuse %j', (batch, message) => {
    expect(() => rules(REC, { batch })).toThrow(
      expect.objectContaining({ code: 'bad-request', message: expect.stringContaining(message) }),
    );
  });
});

describe('padded classes', () => {
  const pad = { x: { axis: 3, to: [480, 160, 320], outputs: { y: { axis: 1, crop: 'ceil(d/8)' } } } };

  it('are the proven buckets that are not smaller, the smallest first, never the own shape', () => {
    const all = [480, 160, 320].map((width) => `x:float32[1,3,48,${width}]`);
    const [large = '', , middle = ''] = all;
    expect(padded(REC, { pad }, 'x:float32[1,3,48,161]', all)).toEqual([middle, large]);
    expect(padded(REC, { pad }, 'x:float32[1,3,48,161]', [large])).toEqual([large]);
    expect(padded(REC, { pad }, 'x:float32[1,3,48,320]', all)).toEqual([large]);
    expect(padded(REC, { pad }, 'x:float32[1,3,48,481]', all)).toEqual([]);
    expect(padded(REC, { pad }, 'x:float32[1,3,48,0]', all)).toEqual([]);
    expect(padded(REC, { pad }, 'x:float32[2,3,48,161]', all)).toEqual([]);
    expect(padded(REC, {}, 'x:float32[1,3,48,161]', all)).toEqual([]);
  });

  it('are none where the bucket is none any more, or the crop gives no size', () => {
    const proven = ['x:float32[1,3,48,480]', 'x:float32[1,3,48,500]'];
    expect(padded(REC, { pad }, 'x:float32[1,3,48,400]', proven)).toEqual(['x:float32[1,3,48,480]']);
    const fours = { x: { axis: 3, to: [480], outputs: { y: { axis: 1, crop: 'd/4' } } } };
    expect(padded(REC, { pad: fours }, 'x:float32[1,3,48,400]', proven)).toEqual(['x:float32[1,3,48,480]']);
    expect(padded(REC, { pad: fours }, 'x:float32[1,3,48,402]', proven)).toEqual([]);
  });

  it('combine with the batch', () => {
    const batch = { sizes: [1, 4] };
    const proven = ['x:float32[2,3,48,480]', 'x:float32[b,3,48,480]', 'x:float32[3,3,48,480]'];
    expect(padded(REC, { pad, batch }, 'x:float32[2,3,48,400]', proven)).toEqual([
      'x:float32[b,3,48,480]',
      'x:float32[2,3,48,480]',
    ]);
    expect(padded(REC, { pad, batch }, 'x:float32[0,3,48,400]', proven)).toEqual([]);
    expect(padded(REC, { pad }, 'x:float32[2,3,48,400]', proven)).toEqual(['x:float32[2,3,48,480]']);
  });

  it('are found in a product of any size, by size', () => {
    const image: ModelMetadata = {
      inputs: [{ name: 'x', dtype: 'uint8', dims: [1, 'H', 'W'] }],
      outputs: [{ name: 'y', dtype: 'uint8', dims: [1, 'H', 'W'] }],
    };
    const to = Array.from({ length: 40 }, (_, at) => 32 + 16 * at);
    const list = [{ x: { axis: 1, to } }, { x: { axis: 2, to } }];
    const proven = ['x:uint8[1,656,656]', 'x:uint8[1,64,48]', 'x:uint8[1,32,64]', 'x:uint8[1,32,33]'];
    expect(padded(image, { pad: list }, 'x:uint8[1,32,20]', proven)).toEqual([
      'x:uint8[1,32,64]',
      'x:uint8[1,64,48]',
      'x:uint8[1,656,656]',
    ]);
    expect(isPadTarget(rules(image, { pad: list }).pad ?? never(), parseShapeKey('x:uint8[1,64,48]'))).toBe(true);
    expect(isPadTarget(rules(image, { pad: list }).pad ?? never(), parseShapeKey('x:uint8[1,64,40]'))).toBe(false);
  });

  it('pad all axes that the rules name', () => {
    const text: ModelMetadata = {
      inputs: [
        { name: 'ids', dtype: 'int64', dims: ['N', 'L'] },
        { name: 'mask', dtype: 'int64', dims: ['N', 'L'] },
      ],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['N'] }],
    };
    const both = { ids: { axis: 1, to: [8, 16] }, mask: { axis: 1, to: [8, 16] } };
    const proven = ['ids:int64[1,16];mask:int64[1,16]', 'ids:int64[1,8];mask:int64[1,8]'];
    expect(padded(text, { pad: both }, 'ids:int64[1,5];mask:int64[1,5]', proven)).toEqual(proven.toReversed());
  });

  it('crop by rule, and only for axes that were padded', () => {
    const plan = rules(REC, { pad }).pad ?? never();
    const crops = (from: string, to: string) => cropsOf(plan, parseShapeKey(from), parseShapeKey(to));
    expect(crops('x:float32[1,3,48,161]', 'x:float32[1,3,48,320]')).toEqual([{ output: 'y', axis: 1, size: 21 }]);
    expect(crops('x:float32[1,3,48,320]', 'x:float32[1,3,48,320]')).toEqual([]);
  });

  it.each([
    [{ z: { axis: 3, to: [1] } }, "the model has no input 'z'"],
    [{ x: { axis: 2, to: [1] } }, "axis 2 of 'x' is no free dimension"],
    [{ x: { axis: 0, to: [4] } }, "axis 0 of 'x' is its batch axis"],
    [{ x: { axis: 3, to: [4], outputs: { z: { axis: 1, crop: 'd' } } } }, "the model has no output 'z'"],
    [{ x: { axis: 3, to: [4], outputs: { y: { axis: 2, crop: 'd' } } } }, "axis 2 of 'y' is no free dimension"],
    [{ x: { axis: 3, to: [4], outputs: { y: { axis: 1, crop: 'd(' } } } }, "crop 'd('"],
    [[{ x: { axis: 3, to: [4] } }, { x: { axis: 3, to: [8] } }], "axis 3 of input 'x' has two rules"],
  ])('refuse %j', (bad, message) => {
    expect(() => rules(REC, { batch: { sizes: [1] }, pad: bad })).toThrow(
      expect.objectContaining({ code: 'bad-request', message: expect.stringContaining(message) }),
    );
  });
});

describe('what a lane is placed by', () => {
  const batch = (...sizes: number[]) => ({ metadata: REC, config: config({ batch: { sizes } }) });

  it('is one class for all sizes of a batch, and stays so when a size is added', () => {
    const keys = [1, 2, 4, 8].map((size) => `x:float32[${size},3,48,160]`);
    expect(new Set(keys.map((key) => placementClassOf(batch(1, 2, 4), key)))).toEqual(
      new Set(['x:float32[b,3,48,160]']),
    );
    for (const key of keys) expect(placementClassOf(batch(1, 2, 4, 8), key)).toBe(placementClassOf(batch(1), key));
  });

  it.each([
    ['without a batch', { metadata: REC, config: config({}) }],
    ['without metadata', { metadata: null, config: config({ batch: { sizes: [1] } }) }],
    [
      'where the batch does not fit the model',
      { metadata: REC, config: config({ batch: { axis: { z: 0 }, sizes: [1] } }) },
    ],
  ])('is its own shape %s', (_, doc) => {
    expect(placementClassOf(doc, 'x:float32[2,3,48,160]')).toBe('x:float32[2,3,48,160]');
  });
});

function never(): never {
  throw new Error('there should be a plan');
}
