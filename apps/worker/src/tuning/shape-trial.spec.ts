import {
  modelConfigSchema,
  type NamedTensor,
  parseModelOptions,
  type ReferenceMethods,
  type RuntimeMethods,
  WarmlaneError,
} from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { laneSpecOf } from '../lanes/lane-spec.js';
import { Verifier } from '../lanes/verifier.js';
import type { HeldVersion } from '../models/held-version.js';
import { type ProcessDown, processDeath, type ReferencePort, type TrialRuntime } from '../ports.js';
import { tryShape } from './shape-trial.js';
import { TrialProcess } from './trial-process.js';

const tensor = (name: string, ...values: number[]): NamedTensor => ({
  name,
  dtype: 'float32',
  dims: [values.length],
  data: new Uint8Array(Float32Array.from(values).buffer),
});
const RIGHT = tensor('y', 1, 2, 3);
const SAMPLES = [1, 2].map((seed) => ({ inputs: [tensor('x', seed, 0, 0)], cacheKey: `sample-${seed}`, items: null }));
const held: HeldVersion = {
  name: 'm',
  version: '1',
  folder: '/m/1',
  files: { modelPath: '/m/1/model.onnx', digest: 'd', stamps: [] },
  config: modelConfigSchema.parse({}),
  metadata: {
    inputs: [{ name: 'x', dtype: 'float32', dims: ['N'] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['M'] }],
  },
  sampleFiles: new Map(),
  refusal: null,
};
const spec = laneSpecOf(held, { shapeKey: 'x:float32[3]', options: {} }, 'cuda');

/** What each step of the simulated GPU gives; a step that is not scripted goes well. */
type Script = Partial<{
  [K in keyof RuntimeMethods]: (params: RuntimeMethods[K]['params']) => Promise<RuntimeMethods[K]['result']>;
}>;

class Gpu implements TrialRuntime {
  readonly hello = { pid: 0 } as TrialRuntime['hello'];
  readonly limits: string[] = [];
  #end: (thrown: unknown) => void = () => undefined;
  readonly #ended = new Promise<never>((_, reject) => {
    this.#end = reject;
  });

  constructor(private readonly script: Script) {
    this.#ended.catch(() => undefined);
  }

  call<K extends keyof RuntimeMethods & string>(
    method: K,
    params: RuntimeMethods[K]['params'],
  ): Promise<RuntimeMethods[K]['result']> {
    if (method === 'lane.create' && 'options' in params && 'lane' in params) {
      this.limits.push(params.options.provider.gpu_mem_limit ?? 'none');
    }
    const good: Partial<RuntimeMethods[K]['result']> & object = {
      ...{ firstMs: 70, outputs: [RIGHT], runsMs: Array.from({ length: 30 }, () => 0.87), bytes: 126 },
    };
    const scripted = this.script[method];
    const answer = scripted === undefined ? Promise.resolve(good as RuntimeMethods[K]['result']) : scripted(params);
    return Promise.race([answer, this.#ended]);
  }

  /** Killed: the call in flight rejects, as it does with a real process. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#end(
      new Died({ code: null, signal: 'SIGKILL', external: false, planned: false, serving: false, reason: 'killed' }),
    );
    return Promise.resolve();
  }
}

class Died extends WarmlaneError {
  readonly [processDeath]: ProcessDown;

  constructor(down: ProcessDown) {
    super('worker-gone', 'the trial process ended');
    this[processDeath] = down;
  }
}

const reference = {
  call: (_: string, params: ReferenceMethods['model.run']['params']) =>
    Promise.resolve({ outputs: params.inputs.length > 0 ? [RIGHT] : [], computeMs: 1 }),
} as unknown as ReferencePort;

async function outcomeOf(script: Script, limitMs = 10_000, given: Record<string, number> = {}) {
  const gpu = new Gpu(script);
  const signal = new AbortController().signal;
  const trials = { open: () => Promise.resolve(gpu) };
  await using process = await TrialProcess.open({ trials, memoryBytes: null, signal });
  const room = { memoryBytes: 5_000, weightsFolder: undefined };
  const options = parseModelOptions('cuda', given);
  const asked = { spec, samples: SAMPLES, name: 'candidate', options, limitMs, room };
  return { found: await tryShape(process, new Verifier(reference), asked), gpu };
}
const outputs = (...values: number[]) => ({ outputs: [tensor('y', ...values)], copyMs: 0, computeMs: 1 });

describe('tryShape', () => {
  it('right: latency, error and memory; limited on the device, which is no part of what is recorded', async () => {
    const { found, gpu } = await outcomeOf({}, 10_000, { use_tf32: 0 });
    expect(found).toMatchObject({
      outcome: 'measured',
      firstMs: 70,
      p50Ms: 0.87,
      relativeError: 0,
      memoryBytes: 126,
      options: { use_tf32: false },
    });
    expect(gpu.limits).toEqual(['5000']);
    expect(Object.keys(found.options)).toEqual(['use_tf32']);
  });

  it('tells NaN from wrong numbers, measures neither', async () => {
    const nan = await outcomeOf({ 'lane.run': () => Promise.resolve(outputs(1, Number.NaN, 3)) });
    expect(nan.found).toMatchObject({ outcome: 'nan', p50Ms: null, firstMs: 70 });
    const wrong = await outcomeOf({ 'lane.run': () => Promise.resolve(outputs(1, 2, 4)) });
    expect(wrong.found).toMatchObject({ outcome: 'wrong-numbers', p50Ms: null });
    expect(wrong.found.reason).toMatch(/off by/);
  });

  it('sees what is right for the first sample only, and what goes wrong while it is measured', async () => {
    let runs = 0;
    const first = { 'lane.run': () => Promise.resolve(++runs === 1 ? outputs(1, 2, 3) : outputs(9, 9, 9)) };
    expect((await outcomeOf(first)).found.outcome).toBe('wrong-numbers');
    runs = 0;
    const later = { 'lane.run': () => Promise.resolve(++runs <= 2 ? outputs(1, 2, 3) : outputs(9, 9, 9)) };
    expect((await outcomeOf(later)).found).toMatchObject({
      outcome: 'wrong-numbers',
      reason: expect.stringContaining('after 30 runs'),
    });
  });

  it('a refusal is one, and so is memory that is not there', async () => {
    const refuse = (code: 'internal' | 'device-busy') => ({
      'lane.create': () => Promise.reject(new WarmlaneError(code, 'no such kernel')),
    });
    expect((await outcomeOf(refuse('internal'))).found).toMatchObject({ outcome: 'refused', reason: 'no such kernel' });
    expect((await outcomeOf(refuse('device-busy'))).found.outcome).toBe('over-memory');
  });

  it('a death has its signal; a trial past its limit is killed and has timed out', async () => {
    const death = {
      code: null,
      signal: 'SIGSEGV',
      external: false,
      planned: false,
      serving: false,
      reason: 'SIGSEGV',
    } as const;
    const crash = { 'lane.first': () => Promise.reject(new Died(death)) };
    expect((await outcomeOf(crash)).found).toMatchObject({ outcome: 'crashed', signal: 'SIGSEGV', p50Ms: null });
    const hang = { 'lane.capture': () => new Promise<never>(() => undefined) };
    expect((await outcomeOf(hang, 50)).found).toMatchObject({ outcome: 'timed-out', signal: null });
  });
});
