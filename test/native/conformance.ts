import { type NamedTensor, printShapeKey, type TensorSpec } from '@warmlane/contracts';
import type { LaneSessionPort } from '@warmlane/ort';
import { CONFORMANCE_MODELS, type ConformanceModel, floatsOf } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** Something that makes lanes: the fake, the CPU provider, the CUDA provider. */
export interface ConformanceTarget {
  name: string;
  /** Whether it runs strings and other CPU-only models. */
  cpuModels: boolean;
  /** Whether a captured graph is expected for the models whose shapes are fixed. */
  graphs: boolean;
  create(model: ConformanceModel, inputs: readonly TensorSpec[]): Promise<LaneSessionPort>;
}

const spec = ({ name, dtype, dims }: NamedTensor): TensorSpec => ({ name, dtype, dims });

/** Bytes alike; floats alike to a rounding, since a NaN has many bit patterns and a root is not the same everywhere. */
function expectSame(found: readonly NamedTensor[], expected: readonly NamedTensor[]): void {
  expect(found.map(spec)).toEqual(expected.map(spec));
  for (const [at, tensor] of expected.entries()) {
    const other = found[at] ?? tensor;
    if (tensor.dtype === 'float32') {
      const close = floatsOf(tensor).map((value) => (Number.isNaN(value) ? value : expect.closeTo(value, 4)));
      expect(floatsOf(other)).toEqual(close);
    } else {
      expect(Buffer.from(other.data)).toEqual(Buffer.from(tensor.data));
    }
  }
}

function reasonOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof Error && 'reason' in error ? String(error.reason) : String(error);
  }
  return 'nothing was thrown';
}

/** The contract of a lane, to be met by every kind of them alike. */
export function laneConformance(target: ConformanceTarget): void {
  const models = CONFORMANCE_MODELS.filter((model) => target.cpuModels || model.cpuOnly !== true);

  describe.each(models.map((model) => [`${model.name} ${printShapeKey(model.samples[0].map(spec))}`, model] as const))(
    `${target.name}: %s`,
    (_, model) => {
      const [first, second] = model.samples;
      let lane: LaneSessionPort;

      beforeAll(async () => {
        lane = await target.create(model, first.map(spec));
      });
      afterAll(() => lane.close());

      it('first run tells the shapes of the outputs', async () => {
        const { firstMs, outputs } = await lane.first(first);
        expect(firstMs).toBeGreaterThanOrEqual(0);
        expect(outputs).toEqual(model.compute(first).map(spec));
      });

      it('captures, or says why not', async () => {
        const capture = lane.capture();
        const captured = target.graphs && model.dataDependent !== true;
        if (captured) expect(capture).toMatchObject({ graph: 'captured', retry: false, broken: false });
        else expect(capture.captureMs).toBeNull();
        expect(capture.graph).not.toBe('');
        expect(lane.graph).toBe(capture.graph);
        if (!capture.broken) return;
        expect(() => lane.run(first)).toThrow(/rebuild|capture/);
        await lane.rebuild(false);
        await lane.first(first);
        expect(lane.graph).toBe(capture.graph);
      });

      it('gives the right numbers for one sample and the other, in turn', () => {
        for (const sample of [first, second, second, first]) {
          expectSame(lane.run(sample).outputs, model.compute(sample));
        }
        expect(lane.dataDependent).toBe(model.dataDependent === true);
      });

      it('writes every byte of its outputs again after they were poisoned', () => {
        lane.poisonOutputs();
        expectSame(lane.run(first).outputs, model.compute(first));
      });

      it('takes the inputs in any order and gives the wanted outputs alone', () => {
        const expected = model.compute(second);
        const last = expected[expected.length - 1];
        const { outputs } = lane.run([...second].reverse(), [last?.name ?? '']);
        expectSame(outputs, expected.slice(-1));
      });

      it('answers with copies', () => {
        const before = lane.run(first).outputs;
        lane.run(second);
        lane.poisonOutputs();
        expectSame(before, model.compute(first));
      });

      it('tells what it was made of', () => {
        expect(Object.values(lane.placement).reduce((sum, nodes) => sum + nodes, 0)).toBeGreaterThan(0);
        expect(lane.memoryBytes()).toBeGreaterThanOrEqual(0);
        expect(lane.inputs).toEqual(first.map(spec));
      });
    },
  );

  describe(`${target.name}: a lane`, () => {
    const model = CONFORMANCE_MODELS.find((candidate) => candidate.name === 'sqrt with NaN');
    if (model === undefined) throw new Error('no such model');
    const [sample] = model.samples;
    const x = sample[0];
    if (x === undefined) throw new Error('no input');
    const create = () => target.create(model, sample.map(spec));

    it('refuses inputs that are not its own, and goes on', async () => {
      const lane = await create();
      await lane.first(sample);
      const wrong: [NamedTensor[], RegExp][] = [
        [[], /missing input 'x'/],
        [[{ ...x, name: 'z' }], /unknown input 'z'/],
        [[x, x], /given twice/],
        [[{ ...x, dtype: 'int32' }], /dtype int32, expected float32/],
        [[{ ...x, dims: [2, 2] }], /rank 2/],
        [[{ ...x, dims: [3], data: x.data.subarray(0, 12) }], /dimension 0 is 3, expected 4/],
        [[{ ...x, data: x.data.subarray(0, 15) }], /got 15 bytes, expected 16/],
      ];
      for (const [inputs, message] of wrong) expect(() => lane.run(inputs)).toThrow(message);
      expect(() => lane.run(sample, ['nope'])).toThrow(/unknown output 'nope'/);
      expectSame(lane.run(sample).outputs, model.compute(sample));
      lane.close();
    });

    it('runs on a pool thread, one run at a time', async () => {
      const lane = await create();
      await lane.first(sample);
      const running = lane.runAsync(sample);
      expect(reasonOf(() => lane.run(sample))).toBe('busy');
      expectSame((await running).outputs, model.compute(sample));
      expectSame(lane.run(sample).outputs, model.compute(sample));
      lane.close();
    });

    it('is closed once, waits for the run under way, and refuses afterwards', async () => {
      const lane = await create();
      await lane.first(sample);
      const running = lane.runAsync(sample);
      lane.close();
      lane.close();
      expect(lane.closed).toBe(true);
      expectSame((await running).outputs, model.compute(sample));
      expect(reasonOf(() => lane.run(sample))).toBe('closed');
      expect(reasonOf(() => lane.capture())).toBe('closed');
      expect(reasonOf(() => lane.poisonOutputs())).toBe('closed');
      expect(reasonOf(() => lane.memoryBytes())).toBe('closed');
      await expect(lane.first(sample)).rejects.toMatchObject({ reason: 'closed' });
    });

    it('can be made anew', async () => {
      const lane = await create();
      await lane.first(sample);
      await lane.rebuild(false);
      expect(lane.capture().captureMs).toBeNull();
      await lane.first(sample);
      expect(floatsOf(lane.run(sample).outputs[0] ?? x)).toEqual([2, Number.NaN, 0, 3]);
      lane.close();
    });

    it('keeps a graph to the thread that captured it', async () => {
      const lane = await create();
      await lane.first(sample);
      const { captureMs } = lane.capture();
      if (captureMs !== null) await expect(lane.runAsync(sample)).rejects.toMatchObject({ reason: 'not-supported' });
      expect(captureMs !== null).toBe(target.graphs);
      lane.close();
    });
  });
}
