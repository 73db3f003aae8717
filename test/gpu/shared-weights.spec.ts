import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type NamedTensor, parseModelOptions } from '@warmlane/contracts';
import { compareOutputs, finish } from '@warmlane/lanes';
import { hasNvidiaDevice } from '@warmlane/ort';
import { type StackModel, stackInput, writeStackModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DisposableRuntime, disposableRuntime } from '../../apps/worker/src/processes/disposable-runtime.js';

const { ORT_LIB_DIR: ortLibDir = null } = process.env;
const limit = { timeoutMs: 120_000 };
const STACKS: StackModel[] = [
  { kind: 'matmul', layers: 4, width: 2048, seed: 1 },
  { kind: 'conv', layers: 4, width: 512, seed: 1 },
  { kind: 'matmul', layers: 4, width: 2048, seed: 1, dtype: 'float16' },
];

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
});
