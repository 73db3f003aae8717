import { printShapeKey, type TensorSpec } from '@warmlane/contracts';
import {
  addSubModel,
  bytesOf,
  centredModel,
  convReluModel,
  gatherModel,
  matMulModel,
  model,
  softmaxModel,
  tensor,
  twoBatchAxesModel,
} from '@warmlane/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Between } from '../support/warmer-rig.js';
import { WarmerRig, xOf } from '../support/warmer-rig.js';

let rig: WarmerRig;
beforeAll(async () => {
  rig = await WarmerRig.start({ provider: 'cpu' });
});
afterAll(() => rig[Symbol.asyncDispose]());
afterEach(() => {
  rig.between = (_, params, real) => real(params);
});

let models = 0;

/** The record of a lane of a model with this configuration, and the class in which it would serve. */
async function warmed(bytes: Uint8Array, config: object, shapeKey: string) {
  models += 1;
  const lane = rig.lane(await rig.hold(`proof-${models}`, bytes, config), shapeKey);
  const record = await rig.warm(lane);
  await rig.release(lane);
  return { record, shapeClass: lane.spec.class };
}

const twoAxes = (size: number): string => {
  const inputs: TensorSpec[] = [
    { name: 'a', dtype: 'float32', dims: [size, 4] },
    { name: 'state', dtype: 'float32', dims: [2, size, 4] },
  ];
  return printShapeKey(inputs);
};

describe('a batch', () => {
  it('is proven item by item, on whatever axis it lies; also for the lane of one item', async () => {
    const config = { batch: { axis: { a: 0, state: 1, y: 0 }, sizes: [1, 3] } };
    for (const size of [1, 3]) {
      const { record, shapeClass } = await warmed(twoBatchAxesModel(), config, twoAxes(size));
      expect(record.batch).toMatchObject({ verified: true, size, reason: '' });
      expect(record.batch?.relativeError).toBeLessThan(1e-5);
      expect(shapeClass).toBe('a:float32[b,4];state:float32[2,b,4]');
    }
  });

  it('is off for a model whose items are not computed each by itself, which serves its exact shape then', async () => {
    for (const size of [1, 3]) {
      const { record, shapeClass } = await warmed(centredModel(), { batch: { sizes: [1, 3] } }, xOf(size, 4));
      expect(record.batch).toMatchObject({ verified: false, reason: expect.stringContaining('wrong numbers') });
      expect([record.relativeError < 1e-4, shapeClass]).toEqual([true, xOf(size, 4)]);
    }
  });

  it('is off where the axis of an output is another one than said', async () => {
    const config = { batch: { axis: { a: 0, state: 1, y: 0 }, sizes: [3] } };
    const wrong = { batch: { axis: { a: 0, state: 1, y: 1 }, sizes: [3] } };
    expect((await warmed(twoBatchAxesModel(), config, twoAxes(3))).record.batch?.verified).toBe(true);
    await expect(warmed(twoBatchAxesModel(), wrong, twoAxes(3))).rejects.toThrow("axis 1 of 'y' is no free dimension");
  });

  it('is off where the samples cannot show it', async () => {
    const zeros = { INPUT0: { zeros: true }, INPUT1: { zeros: true } };
    const key = 'INPUT0:int32[2,16];INPUT1:int32[2,16]';
    const { record } = await warmed(addSubModel(), { batch: { sizes: [2] }, inputs: zeros }, key);
    expect(record.batch).toMatchObject({ verified: false, reason: expect.stringContaining('all the same') });
    const guessed = await warmed(addSubModel(), { batch: { sizes: [2] } }, key);
    expect(guessed.record.batch?.verified).toBe(true);
  });

  it('is off where a runtime mixes its items up: then the whole is wrong too, and the lane FAILED', async () => {
    const swap: Between = async (method, params, real) => {
      const result = await real(params);
      if (method === 'lane.run' && 'outputs' in result && 'poison' in params && params.poison) {
        for (const output of result.outputs)
          if (output !== null && 'data' in output) output.data = output.data.toReversed();
      }
      return result;
    };
    rig.between = swap;
    await expect(
      warmed(twoBatchAxesModel(), { batch: { axis: { a: 0, state: 1 }, sizes: [3] } }, twoAxes(3)),
    ).rejects.toThrow('wrong numbers');
  });
});

/** x float32 [1,T] -> `op` over T -> y float32 [1,1]. */
function reduceModel(op: 'ReduceMax' | 'ReduceMin' | 'ReduceMean', name: string): Uint8Array {
  return model({
    name,
    nodes: [{ op, inputs: ['x'], outputs: ['y'], attributes: { axes: { ints: [1] } } }],
    inputs: [{ name: 'x', dtype: 'float32', dims: [1, 'T'] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: [1, 1] }],
  });
}

/** x float32 [N,T], T a multiple of 4 -> maximum of each four -> y float32 [N,Q]. */
function foursModel(): Uint8Array {
  return model({
    name: 'fours',
    nodes: [
      { op: 'Reshape', inputs: ['x', 'shape'], outputs: ['fours'] },
      { op: 'ReduceMax', inputs: ['fours'], outputs: ['y'], attributes: { axes: { ints: [2] }, keepdims: { int: 0 } } },
    ],
    inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 'T'] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 'Q'] }],
    initializers: [tensor('shape', 'int64', [3], bytesOf(BigInt64Array.from([0n, -1n, 4n])))],
  });
}

/** x float32 [N,1] times c float32 [T], which has no batch axis -> y float32 [N,T]. */
function outerModel(): Uint8Array {
  return model({
    name: 'outer',
    nodes: [{ op: 'Mul', inputs: ['x', 'c'], outputs: ['y'] }],
    inputs: [
      { name: 'x', dtype: 'float32', dims: ['N', 1] },
      { name: 'c', dtype: 'float32', dims: ['T'] },
    ],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 'T'] }],
  });
}

describe('padding', () => {
  const pad = (axis: number, to: number[], crop: string) => ({ x: { axis, to, outputs: { y: { axis, crop } } } });

  it('is proven with the smallest size and the bucket less 1 among others, in batches as well', async () => {
    const config = { batch: { sizes: [1, 4] }, pad: pad(3, [8, 16], 'd') };
    for (const size of [1, 4]) {
      const { record } = await warmed(convReluModel(), config, xOf(size, 3, 8, 16));
      expect(record.padding).toMatchObject({ verified: true, reason: '' });
      expect(record.padding?.shapes).toEqual([15, 12, 9, 1].map((width) => xOf(1, 3, 8, width)));
    }
  });

  it('is proven over both axes of an image', async () => {
    const both = [pad(2, [8], 'd'), pad(3, [8], 'd')];
    const { record } = await warmed(convReluModel(), { pad: both }, xOf(1, 3, 8, 8));
    expect(record.padding).toMatchObject({ verified: true });
    expect(record.padding?.shapes).toContain(xOf(1, 3, 1, 8));
  });

  it('says nothing of a lane that is no bucket', async () => {
    const { record } = await warmed(convReluModel(), { pad: pad(3, [16], 'd') }, xOf(1, 3, 8, 8));
    expect(record.padding).toBeUndefined();
  });

  it.each([
    ['a model that looks at the whole axis', softmaxModel(), pad(2, [8], 'd'), xOf(1, 4, 8), /4,7\]: wrong numbers/],
    ['a crop that gives no size', convReluModel(), pad(3, [8], 'd/2'), xOf(1, 3, 8, 8), /gives 3.5 for d=7/],
    ['a crop of another size', convReluModel(), pad(3, [8], 'ceil(d/2)'), xOf(1, 3, 8, 8), /wrong numbers|output/],
    ['a crop beyond the output', convReluModel(), pad(3, [8], '2*d'), xOf(1, 3, 8, 8), /holds no|wrong/],
    ['a bucket without smaller sizes', convReluModel(), pad(3, [1], 'd'), xOf(1, 3, 8, 1), /no smaller shape/],
  ])('is off for %s, and the record says why', async (_what, bytes, rule, shapeKey, reason) => {
    const { record } = await warmed(bytes, { pad: rule }, shapeKey);
    expect(record.padding).toMatchObject({ verified: false, reason: expect.stringMatching(reason) });
  });

  it.each(['ReduceMax', 'ReduceMin'] as const)('is off for %s, which hides behind values of both signs', async (op) => {
    for (const name of ['a', 'b', 'c']) {
      const { record } = await warmed(reduceModel(op, name), { pad: { x: { axis: 1, to: [16] } } }, xOf(1, 16));
      expect(record.padding).toMatchObject({ verified: false, reason: expect.stringContaining('wrong numbers') });
    }
  });

  it('is off where the samples cannot show it', async () => {
    const config = { pad: { x: { axis: 1, to: [16], value: 0 } }, inputs: { x: { zeros: true } } };
    const { record } = await warmed(reduceModel('ReduceMean', 'zeros'), config, xOf(1, 16));
    expect(record.padding).toMatchObject({
      verified: false,
      reason: expect.stringContaining('only what it is padded'),
    });
  });

  it('asks the rule only for sizes that the model takes', async () => {
    const config = { batch: { sizes: [1, 2] }, pad: pad(1, [32], 'd/4') };
    const { record } = await warmed(foursModel(), config, xOf(2, 32));
    expect(record.padding).toMatchObject({ verified: true, reason: '' });
    expect(record.padding?.shapes).toContain(xOf(1, 28));
  });

  it('of an input without a batch axis is proven in runs of their own', async () => {
    const rule = { c: { axis: 0, to: [8], outputs: { y: { axis: 1, crop: 'd' } } } };
    const config = { batch: { axis: { x: 0, y: 0 }, sizes: [4] }, pad: rule };
    const { record } = await warmed(outerModel(), config, 'x:float32[4,1];c:float32[8]');
    expect(record.padding).toMatchObject({ verified: true, reason: '' });
  });

  it('of integers takes a value that they can hold', async () => {
    const rule = { ids: { axis: 1, to: [4], value: 0, outputs: { y: { axis: 1, crop: 'd' } } } };
    // Its second axis is fixed: there is nothing to pad.
    await expect(warmed(gatherModel(), { pad: rule }, 'ids:int64[1,2]')).rejects.toThrow('no free dimension');
    await expect(warmed(matMulModel(), { batch: { sizes: [2] } }, xOf(2, 8))).rejects.toThrow('not one free dimension');
  });
});
