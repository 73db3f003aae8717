import { type NamedTensor, parseModelOptions, type TensorSpec, tensorBytes } from '@warmlane/contracts';
import { LaneSession, OrtRuntime, type RunResult } from '@warmlane/ort';
import { addSubModel, convReluModel, floats, int32s, loopModel, noise, reshapeModel } from '@warmlane/testing';
import { describe, expect, it } from 'vitest';
import { pressure } from './gc.js';

const runtime = OrtRuntime.load();
/** One thread: thread pools that spin make everything slow on a machine that others use too. */
const cpu = { provider: 'cpu', options: parseModelOptions('cpu', { intra_op_num_threads: 1 }) } as const;

const tensorOf = (spec: TensorSpec, data: Uint8Array): NamedTensor => ({ ...spec, data });
const trips = (count: number): NamedTensor => ({
  name: 'trips',
  dtype: 'int64',
  dims: [],
  data: new Uint8Array(BigInt64Array.of(BigInt(count)).buffer),
});

const image: TensorSpec = { name: 'x', dtype: 'float32', dims: [2, 3, 64, 64] };
/** Far quicker than a comparison element by element. */
const same = (a: RunResult, b: RunResult): boolean =>
  a.outputs.every((output, at) => Buffer.from(output.data).equals(b.outputs[at]?.data ?? new Uint8Array(0)));
const picture = (seed: number): NamedTensor =>
  tensorOf(image, new Uint8Array(noise((tensorBytes(image, 'x') ?? 0) / 4, 1, seed).buffer));

describe('memory of a lane', () => {
  it('stays where it is under garbage collection, in runs here and on pool threads', async () => {
    const lane = await LaneSession.create(runtime, { model: { bytes: convReluModel() }, ...cpu, inputs: [image] });
    await lane.first([picture(1)]);
    pressure();
    const expected = lane.run([picture(2)]);
    for (let round = 0; round < 10; round += 1) {
      pressure();
      expect(same(lane.run([picture(2)]), expected)).toBe(true);
      const running = lane.runAsync([picture(2)]);
      pressure();
      expect(same(await running, expected)).toBe(true);
    }
    lane.close();
  });

  it('is given back: 200 lanes made and closed leave the process as large as it was', async () => {
    const model = { bytes: convReluModel() };
    const metadata = { inputs: [{ ...image, dims: ['N', 3, 'H', 'W'] }], outputs: [] };
    const sample = picture(1);
    const makeAndClose = async (): Promise<void> => {
      const lane = await LaneSession.create(runtime, { model, ...cpu, metadata, inputs: [image] });
      await lane.first([sample]);
      lane.close();
    };
    for (let i = 0; i < 30; i += 1) await makeAndClose();
    pressure();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 200; i += 1) await makeAndClose();
    pressure();
    // One lane holds about 1 MiB of buffers and arena: a leak of either would show as 200 MiB.
    expect(process.memoryUsage().rss - before).toBeLessThan(40 * 2 ** 20);
  });

  it('is released in the fixed order: binding, values, run options, session', async () => {
    const released: string[] = [];
    const record = <P>(name: string, release: (pointer: P) => void) => {
      return (pointer: P) => {
        released.push(name);
        release(pointer);
      };
    };
    const { api } = runtime;
    const original = { ...api };
    api.releaseIoBinding = record('binding', original.releaseIoBinding);
    api.releaseValue = record('value', original.releaseValue);
    api.releaseRunOptions = record('run options', original.releaseRunOptions);
    api.releaseSession = record('session', original.releaseSession);
    try {
      const inputs = ['INPUT0', 'INPUT1'].map((name) => int32s(name, [1, 16], new Array(16).fill(1)));
      const lane = await LaneSession.create(runtime, { model: { bytes: addSubModel() }, ...cpu, inputs });
      await lane.first(inputs);
      released.length = 0;
      lane.close();
      lane.close();
    } finally {
      Object.assign(api, original);
    }
    expect(released).toEqual(['binding', 'value', 'value', 'value', 'value', 'run options', 'session']);
  });

  it('counts the session and the buffers, and can be written in place', async () => {
    const lane = await LaneSession.create(runtime, { model: { bytes: convReluModel() }, ...cpu, inputs: [image] });
    await lane.first([picture(1)]);
    const buffers = (tensorBytes(image, 'x') ?? 0) * (1 + 8 / 3);
    expect(lane.memoryBytes()).toBeGreaterThanOrEqual(buffers);
    lane.inputView('x').set(picture(3).data);
    expect(same(lane.runInPlace(), lane.run([picture(3)]))).toBe(true);
    lane.close();
    expect(() => lane.inputView('x')).toThrow(/closed/);
  });
});

describe('a lane', () => {
  it('whose shape does not fit the graph fails with the words of ONNX Runtime, and others go on', async () => {
    const model = { bytes: reshapeModel() };
    const fitting = floats('x', [3, 4], new Array(12).fill(1));
    const other = floats('x', [3, 5], new Array(15).fill(1));
    const good = await LaneSession.create(runtime, { model, ...cpu, inputs: [fitting] });
    await good.first([fitting]);
    const bad = LaneSession.create(runtime, { model, ...cpu, inputs: [other] }).then(async (lane) => {
      await lane.first([other]).finally(() => lane.close());
    });
    await expect(bad).rejects.toMatchObject({ name: 'OrtError' });
    await expect(bad).rejects.toThrow(/reshape/i);
    expect(good.run([fitting]).outputs[0]?.dims).toEqual([2, 6]);
    good.close();
  });

  it('that runs long on a pool thread leaves this thread free', async () => {
    const lane = await LaneSession.create(runtime, { model: { bytes: loopModel(128) }, ...cpu, inputs: [trips(1)] });
    await lane.first([trips(1)]);
    let longestGapMs = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      longestGapMs = Math.max(longestGapMs, now - last);
      last = now;
    }, 5);
    const { computeMs } = await lane.runAsync([trips(2000)]);
    clearInterval(timer);
    expect(computeMs).toBeGreaterThan(longestGapMs);
    expect(longestGapMs).toBeLessThan(Math.max(100, computeMs / 2));
    lane.close();
  });

  it('is made beside seven others at once', async () => {
    const model = { bytes: convReluModel() };
    const lanes = await Promise.all(
      [1, 2, 3, 4, 5, 6, 7, 8].map((n) =>
        LaneSession.create(runtime, { model, ...cpu, inputs: [{ ...image, dims: [n, 3, 16, 16] }] }),
      ),
    );
    expect(lanes.map((lane) => lane.inputs[0]?.dims[0])).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    for (const lane of lanes) lane.close();
  });
});
