import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type NamedTensor, parseModelOptions } from '@warmlane/contracts';
import { compareOutputs, finish } from '@warmlane/lanes';
import { CudaRuntime, hasNvidiaDevice, OrtRuntime, placeNodes } from '@warmlane/ort';
import {
  bytesOf,
  floats,
  floatsOf,
  meanModel,
  meanWeights,
  noise,
  type StackModel,
  stackInput,
  writeStackModel,
} from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DisposableRuntime, disposableRuntime } from '../../apps/worker/src/processes/disposable-runtime.js';

const { ORT_LIB_DIR: ortLibDir = null } = process.env;
const limit = { timeoutMs: 120_000 };
const STACKS: StackModel[] = [
  { kind: 'matmul', layers: 4, width: 2048, seed: 1 },
  { kind: 'conv', layers: 4, width: 512, seed: 1 },
  { kind: 'matmul', layers: 4, width: 2048, seed: 1, dtype: 'float16' },
];

const WIDTH = 1024;
/** Of each option with which a prepared model may be common to lanes, a value that is not its default. */
const OTHER_VALUES = {
  arena_extend_strategy: 'kSameAsRequested',
  cudnn_conv1d_pad_to_nc1d: '1',
  cudnn_conv_algo_search: 'DEFAULT',
  cudnn_conv_use_max_workspace: '0',
  do_copy_in_default_stream: '0',
  enable_cuda_graph: '1',
  fuse_conv_bias: '1',
  gpu_mem_limit: String(2 ** 30),
  use_ep_level_unified_stream: '1',
  use_tf32: '0',
};

/** Overwrites a weight in a file with zeros, in place: who reads it from there computes something else. */
function blank(file: string, weight: Float32Array): void {
  const at = readFileSync(file).indexOf(bytesOf(weight));
  expect(at).toBeGreaterThanOrEqual(0);
  const handle = openSync(file, 'r+');
  writeSync(handle, new Uint8Array(weight.byteLength), 0, weight.byteLength, at);
  closeSync(handle);
}

/** What the model of means gives for `x`. */
function meanOutput(x: NamedTensor): NamedTensor {
  const { a, b, both } = meanWeights(WIDTH);
  const rows = floatsOf(x);
  const y = rows.map((_, at) => {
    const [row, column] = [at - (at % WIDTH), at % WIDTH];
    let product = 0;
    for (let k = 0; k < WIDTH; k += 1) product += (rows[row + k] ?? 0) * (a[k * WIDTH + column] ?? 0);
    const scale = both[column] ?? 0;
    return (((product + (b[column] ?? 0)) / 2) * scale + scale) / 2;
  });
  return floats('y', x.dims, y);
}

describe.skipIf(!hasNvidiaDevice())('shared weights on CUDA', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'warmlane-weights-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(STACKS.map((stack) => [`${stack.kind} ${stack.dtype ?? 'float32'}`, stack] as const))(
    '%s: the numbers of lanes with their own, one copy on the device, captured graphs',
    async (name, stack) => {
      const file = path.join(folder, `${name}.onnx`);
      const total = await writeStackModel(file, stack);
      const prepared = path.join(folder, `prepared ${name}`);
      const start = (): Promise<DisposableRuntime> =>
        disposableRuntime({ device: { provider: 'cuda', visible: '0' }, env: process.env, ortLibDir });
      await using alone = await start();
      await using together = await start();
      const used = async (runtime: DisposableRuntime): Promise<number> => {
        const memory = await runtime.call('memory', {}, limit);
        return memory.total - memory.free;
      };
      const growth = { alone: 0, together: 0 };
      for (const batch of [1, 2, 3, 4]) {
        const x = stackInput(stack, { batch }, batch);
        const answers: NamedTensor[][] = [];
        for (const [runtime, weightsFolder] of [
          [alone, undefined],
          [together, prepared],
        ] as const) {
          const before = await used(runtime);
          const created = await runtime.call(
            'lane.create',
            {
              lane: `lane-${batch}`,
              model: { path: file, digest: name },
              providers: ['cuda'],
              fallback: 'error',
              options: parseModelOptions('cuda', { use_tf32: false }),
              inputs: [{ name: x.name, dtype: x.dtype, dims: x.dims }],
              outputs: ['y'],
              weightsFolder,
            },
            limit,
          );
          await runtime.call('lane.first', { lane: `lane-${batch}`, inputs: [x] }, limit);
          const { graph } = await runtime.call('lane.capture', { lane: `lane-${batch}` }, limit);
          expect(graph).toBe('captured');
          if (weightsFolder === undefined) expect(created.weights.sharedBytes).toBe(0);
          else expect(created.weights.sharedBytes, created.weights.reason).toBeGreaterThanOrEqual(total);
          // The first lane brings the one copy.
          if (batch > 1) growth[weightsFolder === undefined ? 'alone' : 'together'] += (await used(runtime)) - before;
          if (weightsFolder !== undefined && batch === 1 && stack.dtype !== 'float16') {
            const [entry = ''] = readdirSync(prepared);
            const weights = path.join(prepared, entry, 'weights.bin');
            const { size } = statSync(weights);
            truncateSync(weights);
            truncateSync(weights, size);
          }
          const run = { lane: `lane-${batch}`, inputs: [x], outputs: null, poison: true };
          answers.push((await runtime.call('lane.run', run, limit)).outputs);
        }
        const [own = [], shared = []] = answers;
        expect(own[0]?.data.some((byte) => byte !== 0)).toBe(true);
        const [difference] = finish(compareOutputs(shared, own, new Set()));
        expect(difference?.error, difference?.reason).toBeLessThan(stack.dtype === 'float16' ? 2e-2 : 1e-3);
      }
      // What a lane takes besides its weights is the same on both sides. Three lanes came after the first.
      expect(growth.alone - growth.together).toBeGreaterThan(0.8 * 3 * total);
    },
  );

  it('are those that nodes on the device read; what a node on the CPU reads stays in the model', async () => {
    const file = path.join(folder, 'mean.onnx');
    writeFileSync(file, meanModel(WIDTH));
    const prepared = path.join(folder, 'prepared mean');
    await using runtime = await disposableRuntime({
      device: { provider: 'cuda', visible: '0' },
      env: process.env,
      ortLibDir,
    });
    for (const batch of [1, 2, 3]) {
      const lane = `lane-${batch}`;
      const x = floats('x', [batch, WIDTH], Array.from(noise(batch * WIDTH, 1, batch)));
      const params = {
        lane,
        model: { path: file, digest: 'mean' },
        providers: ['cuda' as const],
        fallback: 'allow' as const,
        options: parseModelOptions('cuda', {
          use_tf32: false,
          cudnn_conv_algo_search: batch === 1 ? 'EXHAUSTIVE' : 'HEURISTIC',
        }),
        inputs: [{ name: x.name, dtype: x.dtype, dims: x.dims }],
        outputs: ['y'],
        weightsFolder: prepared,
      };
      const { placement, weights } = await runtime.call('lane.create', params, limit);
      expect(placement.CPUExecutionProvider).toBeGreaterThanOrEqual(2);
      expect(placement.CUDAExecutionProvider).toBeGreaterThanOrEqual(1);
      expect(weights).toEqual({
        sharedBytes: 4 * WIDTH * WIDTH,
        reason: expect.stringContaining(`2 of 3 weights (${2 * 4 * WIDTH} bytes) stay in the model`),
      });
      const [entry = '', ...others] = readdirSync(prepared);
      expect(others).toEqual([]);
      expect(JSON.parse(readFileSync(path.join(prepared, entry, 'on-device.json'), 'utf8'))).toEqual(['a']);
      if (batch === 1) blank(path.join(prepared, entry, 'weights.bin'), meanWeights(WIDTH).a);
      await runtime.call('lane.first', { lane, inputs: [x] }, limit);
      const { graph } = await runtime.call('lane.capture', { lane }, limit);
      expect(graph).not.toBe('captured');
      const run = await runtime.call('lane.run', { lane, inputs: [x], outputs: null, poison: true }, limit);
      const [difference] = finish(compareOutputs(run.outputs, [meanOutput(x)], new Set()));
      expect(difference?.error, difference?.reason).toBeLessThan(1e-5);
    }
  });

  it('are chosen alike whatever an option says of how nodes compute', async () => {
    const mean = path.join(folder, 'placed mean.onnx');
    writeFileSync(mean, meanModel());
    const conv = path.join(folder, 'placed conv.onnx');
    await writeStackModel(conv, { kind: 'conv', layers: 2, width: 64, seed: 1 });
    const ort = OrtRuntime.load({ libDir: process.env.ORT_LIB_DIR });
    using cuda = CudaRuntime.load();
    const placed = async (model: string, provider: Record<string, string>): Promise<string[]> => {
      const options = { provider, session: {}, run: {} };
      const { a } = meanWeights(512);
      const weights =
        model === mean ? [{ name: 'a', dtype: 'float32' as const, dims: [512, 512], bytes: a.byteLength }] : [];
      const nodes = await placeNodes(ort, { model, weights, provider: 'cuda', options, cuda });
      return nodes.map(({ name, onProvider }) => `${name} ${onProvider ? 'on' : 'off'}`).sort();
    };
    const expected = { mean: await placed(mean, {}), conv: await placed(conv, {}) };
    expect(expected.mean).toEqual(['last off', 'mean off', 'product on', 'scaled on']);
    expect(expected.conv).toEqual(['Conv_0 on', 'Conv_2 on', 'Relu_1 on', 'Relu_3 on']);
    for (const [key, value] of Object.entries(OTHER_VALUES)) {
      expect({ [key]: await placed(mean, { [key]: value }) }).toEqual({ [key]: expected.mean });
      expect({ [key]: await placed(conv, { [key]: value }) }).toEqual({ [key]: expected.conv });
    }
  });
});
