import { modelConfigSchema, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { createLogger } from '@warmlane/observability';
import { describe, expect, it } from 'vitest';
import type { HeldVersion } from '../models/held-version.js';
import type { ReferencePort, RuntimePort } from '../ports.js';
import type { WorkerConfig } from '../worker.config.js';
import { Fallback } from './fallback.js';

const held: HeldVersion = {
  name: 'm',
  version: '1',
  folder: '/m/1',
  files: { modelPath: '/m/1/model.onnx', digest: 'd', stamps: [] },
  config: modelConfigSchema.parse({}),
  metadata: { inputs: [{ name: 'x', dtype: 'float32', dims: ['N'] }], outputs: [] },
  sampleFiles: new Map(),
  refusal: null,
};
const input: NamedTensor = { name: 'x', dtype: 'float32', dims: [1], data: new Uint8Array(4) };
const right = { right: true, relativeError: 0, tolerance: 1, reason: '' };

/** A worker on a GPU whose CPU takes 1 ms for a run and whose plain session 5 ms. */
function fallback(cold: WorkerConfig['cold']) {
  const calls: string[] = [];
  const runtime = { up: true };
  const cpu: Pick<ReferencePort, 'call'> = {
    call: (method) => {
      calls.push(method);
      return Promise.resolve({ outputs: [], computeMs: 1 });
    },
  } as Pick<ReferencePort, 'call'>;
  const device = {
    call: (method: string) => {
      calls.push(method);
      if (!runtime.up) return Promise.reject(new WarmlaneError('not-ready', 'the runtime is away', 'Wait.'));
      return Promise.resolve({ outputs: [], computeMs: 5, copyMs: 0 });
    },
  } as Pick<RuntimePort, 'call'>;
  const made = new Fallback(
    cpu,
    device,
    { provider: 'cuda' },
    { expected: () => Promise.resolve([input]), judge: () => Promise.resolve(right) },
    { cold },
    createLogger({ role: 'test', level: 'silent' }),
  );
  return { run: () => made.run(held, [input], [], 1_000), calls, runtime };
}

describe('Fallback on a GPU', () => {
  it('takes what was measured faster', async () => {
    const { run, calls } = fallback('auto');
    expect(await run()).toMatchObject({ servedBy: 'cpu' });
    expect(new Set(calls)).toEqual(new Set(['plain.run', 'model.run']));
  });

  it('has the CPU alone where the configuration says so', async () => {
    const { run, calls } = fallback('cpu');
    expect(await run()).toMatchObject({ servedBy: 'cpu' });
    expect(calls).not.toContain('plain.run');
  });

  it('has the device alone where the configuration says so, also while the runtime is away', async () => {
    const { run, calls, runtime } = fallback('device');
    expect(await run()).toMatchObject({ servedBy: 'cuda' });
    runtime.up = false;
    await expect(run()).rejects.toMatchObject({ code: 'not-ready' });
    expect(calls).not.toContain('model.run');
  });
});
