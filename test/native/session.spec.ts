import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseModelOptions } from '@warmlane/contracts';
import {
  createSession,
  createSessionSync,
  cudaProblem,
  hasNvidiaDevice,
  listGpus,
  type OrtError,
  OrtRuntime,
  PlainSession,
  readModelMetadata,
  TensorValue,
} from '@warmlane/ort';
import {
  addSubModel,
  anonymousDimsModel,
  externalDataModel,
  floats,
  floatsOf,
  identityModel,
  matMulModel,
} from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const runtime = OrtRuntime.load();
const cpu = { provider: 'cpu' } as const;
let dir: string;

beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'warmlane-session-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

function write(name: string, bytes: Uint8Array): { path: string } {
  const file = path.join(dir, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  return { path: file };
}

describe('the library', () => {
  it('is the pinned one, loaded once', () => {
    expect(runtime.version).toBe('1.29.0');
    expect(OrtRuntime.load()).toBe(runtime);
    expect(runtime.builtProviders()).toContain('CPUExecutionProvider');
  });

  it('is named where it is missing', () => {
    expect(() => OrtRuntime.load({ libDir: dir })).toThrow(`no libonnxruntime.so.1 in ${dir}`);
  });
});

describe('a model', () => {
  it('loads from file and from bytes, on a pool thread and on this one', async () => {
    const bytes = addSubModel();
    const model = write('add_sub.onnx', bytes);
    for (const source of [model, { bytes }]) {
      const sync = createSessionSync(runtime, { model: source, ...cpu });
      const async = await createSession(runtime, { model: source, ...cpu });
      expect(sync.metadata).toEqual(async.metadata);
      sync.close();
      async.close();
      expect(() => sync.pointer).toThrow(/Session is closed/);
    }
  });

  it('tells names, dtypes, fixed, symbolic and anonymous dims, scalars', async () => {
    expect(await readModelMetadata(runtime, { bytes: addSubModel() })).toEqual({
      inputs: ['INPUT0', 'INPUT1'].map((name) => ({ name, dtype: 'int32', dims: ['N', 16] })),
      outputs: ['OUTPUT0', 'OUTPUT1'].map((name) => ({ name, dtype: 'int32', dims: ['N', 16] })),
    });
    expect((await readModelMetadata(runtime, { bytes: anonymousDimsModel() })).inputs[0]?.dims).toEqual(['N', -1]);
    expect((await readModelMetadata(runtime, { bytes: identityModel('int64', []) })).inputs[0]?.dims).toEqual([]);
  });

  it('declares its free dimensions as they are fixed', () => {
    const session = createSessionSync(runtime, { model: { bytes: addSubModel() }, ...cpu, freeDimensions: { N: 3 } });
    expect(session.metadata.outputs.map((output) => output.dims)).toEqual([
      [3, 16],
      [3, 16],
    ]);
    session.close();
  });

  it.each<[string, () => { path: string } | { bytes: Uint8Array }, string]>([
    ['that is not there', () => ({ path: '/nowhere/model.onnx' }), 'no-such-file'],
    ['that is empty', () => write('empty.onnx', new Uint8Array(0)), 'fail'],
    ['that is no ONNX file', () => write('text.onnx', Buffer.from('hello, world')), 'invalid-protobuf'],
    ['that is cut off', () => ({ bytes: addSubModel().subarray(0, 40) }), 'invalid-protobuf'],
  ])('%s is refused with the words of ONNX Runtime', async (_, model, reason) => {
    const refused = createSession(runtime, { model: model(), ...cpu });
    await expect(refused).rejects.toMatchObject({ name: 'OrtError', reason });
  });

  it('finds external data beside it, and says so where it is missing', async () => {
    const { model, data } = externalDataModel();
    const whole = write('whole/model.onnx', model);
    write('whole/weights.bin', data);
    const session = await PlainSession.create(runtime, { model: whole, ...cpu });
    expect(session.run([floats('x', [1, 32], new Array(32).fill(1))]).outputs[0]?.dims).toEqual([1, 32]);
    session.close();
    const alone = write('alone/model.onnx', model);
    await expect(createSession(runtime, { model: alone, ...cpu })).rejects.toThrow(/weights\.bin/);
  });
});

describe('options', () => {
  const model = { bytes: matMulModel() };

  it('are read back', () => {
    const options = parseModelOptions('cpu', {
      intra_op_num_threads: 1,
      graph_optimization_level: 'ORT_ENABLE_BASIC',
      execution_mode: 'ORT_SEQUENTIAL',
      enable_mem_pattern: false,
      use_arena: true,
      use_deterministic_compute: true,
      'session.intra_op.allow_spinning': false,
      'session.set_denormal_as_zero': true,
    });
    const session = createSessionSync(runtime, { model, ...cpu, options });
    expect(session.optionsParsed).toEqual({ ...options.provider, ...options.session });
    session.close();
  });

  it('of each run are read back', async () => {
    const options = parseModelOptions('cpu', { 'memory.enable_memory_arena_shrinkage': 'cpu:0' });
    const session = await PlainSession.create(runtime, { model, ...cpu, options });
    expect(session.optionsParsed).toEqual(options.run);
    expect(session.run([floats('x', [2, 8], new Array(16).fill(1))]).outputs).toHaveLength(1);
    session.close();
  });

  it('of the arena have their effect on its statistics', () => {
    const withArena = createSessionSync(runtime, { model, ...cpu });
    expect(withArena.allocatorStats()?.totalAllocated).toBeGreaterThan(0);
    withArena.close();
    for (const given of [{ use_arena: false }, { enable_cpu_mem_arena: false }]) {
      const session = createSessionSync(runtime, { model, ...cpu, options: parseModelOptions('cpu', given) });
      expect(session.allocatorStats()).toBeNull();
      session.close();
    }
  });

  it('that ONNX Runtime refuses fail the creation', () => {
    const options = { provider: {}, session: { execution_mode: 'ORT_SIDEWAYS' }, run: {} };
    expect(() => createSessionSync(runtime, { model, ...cpu, options })).toThrow(/'ORT_SIDEWAYS' is none of/);
  });
});

describe('placement', () => {
  it('is told per node', () => {
    const session = createSessionSync(runtime, { model: { bytes: addSubModel() }, ...cpu });
    expect(session.placement.counts).toEqual({ CPUExecutionProvider: 2 });
    expect(session.placement.nodes.map((node) => node.operator).sort()).toEqual(['Add', 'Sub']);
    session.close();
  });
});

describe('weights', () => {
  const model = { bytes: matMulModel(4) };
  const x = floats('x', [2, 4], [1, 2, 3, 4, 5, 6, 7, 8]);
  const eye = floats('w', [4, 4], [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2]);

  it('are shared by sessions that were given them', async () => {
    const shared = TensorValue.onHost(runtime, eye);
    const initializers = new Map([['w', shared]]);
    const sessions = await Promise.all([1, 2].map(() => PlainSession.create(runtime, { model, ...cpu, initializers })));
    for (const session of sessions) {
      expect(floatsOf(session.run([x]).outputs[0] ?? x)).toEqual([2, 4, 6, 8, 10, 12, 14, 16]);
      session.close();
    }
    shared.close();
    shared.close();
    expect(() => shared.pointer).toThrow(/closed/);
  });

  it('lie in the optimised model, which loads again', async () => {
    const optimizedModelPath = path.join(dir, 'optimised.onnx');
    const first = await PlainSession.create(runtime, { model, ...cpu, optimizedModelPath });
    const again = await PlainSession.create(runtime, { model: { path: optimizedModelPath }, ...cpu });
    expect(again.run([x]).outputs).toEqual(first.run([x]).outputs);
    first.close();
    again.close();
  });
});

describe.skipIf(hasNvidiaDevice())('a machine without an NVIDIA device', () => {
  it('has no GPUs, and the missing library is named', () => {
    expect(listGpus()).toEqual([]);
    const problem = cudaProblem(runtime);
    expect(problem).toMatchObject({ reason: 'missing-library' });
    expect(problem?.message).toContain('libcuda.so.1');
  });

  it('refuses a CUDA session naming the library', async () => {
    const refused = createSession(runtime, { model: { bytes: matMulModel() }, provider: 'cuda' });
    const error = await refused.catch((thrown: OrtError) => thrown);
    expect(error).toMatchObject({ reason: 'missing-library', code: 'not-supported' });
    expect((error as OrtError).message).toMatch(/libonnxruntime_providers_(shared|cuda)\.so/);
  });
});

describe('a plain session', () => {
  it('takes shape after shape, several at once on pool threads', async () => {
    const session = await PlainSession.create(runtime, { model: { bytes: anonymousDimsModel() }, ...cpu });
    const shapes = [1, 2, 3, 4, 5, 6].map((n) =>
      floats(
        'x',
        [n, 2],
        Array.from({ length: 2 * n }, (_, at) => at),
      ),
    );
    const results = await Promise.all(shapes.map((x) => session.runAsync([x])));
    results.forEach(({ outputs }, at) => {
      expect(outputs[0]?.dims).toEqual([at + 1, 2]);
      expect(floatsOf(outputs[0] ?? floats('y', [0], []))).toEqual(
        Array.from({ length: 2 * (at + 1) }, (_, i) => i + 1),
      );
    });
    const last = session.runAsync([shapes[0] ?? floats('x', [0, 2], [])]);
    session.close();
    expect((await last).outputs).toHaveLength(1);
    expect(() => session.run([])).toThrow(/closed/);
  });
});
