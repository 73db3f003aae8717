import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { CreateLaneParams, NamedTensor, ParsedOptions } from '@warmlane/contracts';
import { hasNvidiaDevice } from '@warmlane/ort';
import { convReluModel, floats, floatsOf, noise, nonZeroModel } from '@warmlane/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { disposableRuntime } from '../../apps/worker/src/processes/disposable-runtime.js';
import { ReferenceProcess } from '../../apps/worker/src/processes/reference-process.js';
import { RuntimeProcess } from '../../apps/worker/src/processes/runtime-process.js';

const { ORT_LIB_DIR: ortLibDir = null } = process.env;
const cuda = {
  device: { provider: 'cuda' as const, visible: '0' },
  env: process.env,
  ortLibDir,
};
const limit = { timeoutMs: 120_000 };
const exact: ParsedOptions = { provider: { use_tf32: '0' }, session: {}, run: {} };

let folder: string;
let conv: { path: string; digest: string };
let nonZero: { path: string; digest: string };
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'warmlane-gpu-'));
  conv = { path: path.join(folder, 'conv.onnx'), digest: 'sha256:conv' };
  nonZero = { path: path.join(folder, 'nonzero.onnx'), digest: 'sha256:nonzero' };
  writeFileSync(conv.path, convReluModel());
  writeFileSync(nonZero.path, nonZeroModel());
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});
function runtime(): RuntimeProcess {
  const made = new RuntimeProcess(cuda);
  closing.push(() => made.stop());
  return made;
}

function image(size: number, seed = 1): NamedTensor {
  return floats('x', [1, 3, size, size], [...noise(3 * size * size, 1, seed)]);
}
function lane(id: string, size: number): CreateLaneParams {
  return {
    lane: id,
    model: conv,
    providers: ['cuda'],
    fallback: 'error',
    options: exact,
    inputs: [{ name: 'x', dtype: 'float32', dims: [1, 3, size, size] }],
    outputs: ['y'],
  };
}
async function warm(served: RuntimeProcess, id: string, size: number): Promise<string> {
  await served.call('lane.create', lane(id, size), limit);
  await served.call('lane.first', { lane: id, inputs: [image(size)] }, limit);
  const { graph } = await served.call('lane.capture', { lane: id }, limit);
  return graph;
}
function relativeError(got: NamedTensor | undefined, wanted: NamedTensor | undefined): number {
  if (got === undefined || wanted === undefined) return Number.POSITIVE_INFINITY;
  const [a, b] = [floatsOf(got), floatsOf(wanted)];
  const norm = (values: number[]): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return norm(a.map((value, at) => value - (b[at] ?? 0))) / norm(b);
}

describe.skipIf(!hasNvidiaDevice())('the runtime on a GPU', () => {
  it('names device and environment, and ends with exit code 0 when asked', async () => {
    const served = runtime();
    const hello = await served.start();
    expect(hello).toMatchObject({ provider: 'cuda', device: expect.stringMatching(/\(GPU-|\(MIG-/) });
    expect(Object.keys(hello.environment)).toEqual(
      expect.arrayContaining(['device', 'driver', 'cuda', 'cudnn', 'ort', 'libonnxruntime_providers_cuda.so']),
    );
    expect(hello.memory.free).toBeGreaterThan(0);
    await warm(served, 'a', 64);
    const down = new Promise((resolve) => served.events.once('down', resolve));
    const next = await served.restart();
    expect(await down).toMatchObject({ planned: true, code: 0, signal: null });
    expect(next.pid).not.toBe(hello.pid);
  });

  it('captures lanes one by one while others are made and served, and every number is right', async () => {
    const served = runtime();
    const reference = new ReferenceProcess('reference', { env: process.env, referencesFolder: null });
    closing.push(() => reference.stop());
    await Promise.all([served.start(), reference.start()]);
    expect(await warm(served, 'served', 48)).toBe('captured');
    const wanted = new Map<number, NamedTensor[]>();
    for (const size of [48, 64, 80, 96, 112]) {
      const run = { ...conv, inputs: [image(size, 5)], outputs: null, cacheKey: null };
      wanted.set(size, (await reference.call('model.run', run, limit)).outputs);
    }
    let making = true;
    const times: number[] = [];
    const serving = (async () => {
      while (making) {
        const begun = performance.now();
        const run = { lane: 'served', inputs: [image(48, 5)], outputs: null, poison: false };
        const { outputs } = await served.call('lane.run', run, limit);
        times.push(performance.now() - begun);
        expect(relativeError(outputs[0], wanted.get(48)?.[0])).toBeLessThan(1e-3);
      }
    })();
    const graphs = await Promise.all([64, 80, 96, 112].map((size) => warm(served, `lane-${size}`, size)));
    making = false;
    await serving;
    expect(graphs).toEqual(['captured', 'captured', 'captured', 'captured']);
    for (const size of [64, 80, 96, 112, 64]) {
      const run = { lane: `lane-${size}`, inputs: [image(size, 5)], outputs: null, poison: true };
      const { outputs } = await served.call('lane.run', run, limit);
      expect(relativeError(outputs[0], wanted.get(size)?.[0])).toBeLessThan(1e-3);
    }
    const measured = await served.call(
      'lane.measure',
      { lane: 'served', inputs: [image(48)], runs: 100, budgetMs: 3000 },
      limit,
    );
    expect(measured.runsMs).toHaveLength(100);
    times.sort((a, b) => a - b);
    measured.runsMs.sort((a, b) => a - b);
    process.stderr.write(
      `served while 4 lanes were made: ${times.length} requests, p50 ${times[times.length >> 1]?.toFixed(2)} ms, max ${times.at(-1)?.toFixed(2)} ms; measured p50 ${measured.runsMs[50]?.toFixed(2)} ms\n`,
    );
    expect((await served.call('lane.memory', { lane: 'served' }, limit)).bytes).toBeGreaterThan(0);
  });

  it('goes on without a graph where there can be none, and a plain session takes any shape', async () => {
    const served = runtime();
    await served.start();
    const spec = { name: 'x', dtype: 'float32' as const, dims: [4] };
    const inputs = [floats('x', [4], [0, 1, 0, 2])];
    const create = { ...lane('nz', 1), model: nonZero, inputs: [spec] };
    await served.call('lane.create', create, limit);
    await served.call('lane.first', { lane: 'nz', inputs }, limit);
    const capture = await served.call('lane.capture', { lane: 'nz' }, limit);
    expect(capture.captureMs).toBeNull();
    const run = { lane: 'nz', inputs, outputs: null, poison: false };
    expect((await served.call('lane.run', run, limit)).outputs[0]?.dims).toEqual([1, 2]);
    const other = { ...run, inputs: [floats('x', [4], [0, 1, 3, 2])] };
    expect((await served.call('lane.run', other, limit)).outputs[0]?.dims).toEqual([1, 3]);
    for (const size of [32, 40]) {
      const plain = {
        session: 'p',
        model: conv,
        providers: ['cuda' as const],
        options: exact,
        inputs: [image(size)],
        outputs: ['y'],
      };
      expect((await served.call('plain.run', plain, limit)).outputs[0]?.dims).toEqual([1, 8, size, size]);
    }
  });

  it('refuses a second runtime on the device, not a trial beside it', async () => {
    const served = runtime();
    const hello = await served.start();
    const second = runtime();
    await expect(second.start()).rejects.toMatchObject({
      code: 'device-busy',
      message: expect.stringContaining(`process ${hello.pid}`),
    });
    await using trial = await disposableRuntime(cuda);
    await trial.call('lane.create', lane('t', 32), limit);
  });

  it('that refuses memory says device-busy and lives on', async () => {
    const served = runtime();
    await served.start();
    const options = { ...exact, provider: { ...exact.provider, gpu_mem_limit: '1048576' } };
    const attempt = async (): Promise<void> => {
      await served.call('lane.create', { ...lane('big', 1024), options }, limit);
      await served.call('lane.first', { lane: 'big', inputs: [image(1024)] }, limit);
    };
    await expect(attempt()).rejects.toMatchObject({ code: 'device-busy', retryable: true });
    expect(await warm(served, 'small', 32)).toBe('captured');
  });

  it('comes back after kill -9', async () => {
    const served = runtime();
    const hello = await served.start();
    await warm(served, 'a', 32);
    const up = new Promise((resolve) => served.events.once('up', resolve));
    const begun = performance.now();
    process.kill(hello.pid, 'SIGKILL');
    await up;
    expect(existsSync(`/proc/${hello.pid}`)).toBe(false);
    expect(await warm(served, 'a', 32)).toBe('captured');
    process.stderr.write(`killed, up and one lane warm again in ${(performance.now() - begun).toFixed(0)} ms\n`);
  });
});
