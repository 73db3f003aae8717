import { type ModelConfig, type NamedTensor, type PlainRunParams, WarmlaneError } from '@warmlane/contracts';
import { createLogger } from '@warmlane/observability';
import { heldVersion } from '@warmlane/testing';
import { describe, expect, it } from 'vitest';
import type { HeldVersion } from '../models/held-version.js';
import type { ReferencePort, RuntimePort } from '../ports.js';
import type { WorkerConfig } from '../worker.config.js';
import { Fallback } from './fallback.js';

const held: HeldVersion = heldVersion();
const input: NamedTensor = { name: 'x', dtype: 'float32', dims: [1], data: new Uint8Array(4) };
const right = { right: true, relativeError: 0, tolerance: 1, reason: '' };

function withOptions(version: string, options: ModelConfig['options']): HeldVersion {
  return { ...held, version, config: { ...held.config, options } };
}

/** A worker on a GPU whose CPU takes 1 ms for a run and whose plain session 5 ms. */
function fallback(cold: WorkerConfig['cold']) {
  const calls: string[] = [];
  const plain: { method: string; params: Partial<PlainRunParams> }[] = [];
  const runtime = { up: true };
  const cpu: Pick<ReferencePort, 'call'> = {
    call: (method) => {
      calls.push(method);
      return Promise.resolve({ outputs: [], computeMs: 1 });
    },
  } as Pick<ReferencePort, 'call'>;
  const device = {
    call: (method: string, params: Partial<PlainRunParams>) => {
      calls.push(method);
      plain.push({ method, params });
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
  const run = (of: HeldVersion = held) => made.run(of, [input], [], 1_000);
  return { fallback: made, run, calls, plain, runtime };
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

  it('has a session for each version of the same bytes, with its own options', async () => {
    const { run, plain } = fallback('device');
    const other = withOptions('2', { use_deterministic_compute: true });
    for (const version of [held, other, held]) await run(version);
    const sessions = new Map(plain.map(({ params }) => [params.session, params.options?.session]));
    expect([...sessions.values()]).toEqual([{}, { use_deterministic_compute: '1' }]);
  });

  it('gives back what a version has alone, and the common CPU session with the last one', async () => {
    const { fallback: made, run, calls, plain } = fallback('auto');
    const other = withOptions('2', { use_tf32: false });
    await run();
    await run(other);
    expect(made.unused([held, other])).toEqual([]);
    const again = withOptions('2', { use_tf32: true });
    expect(made.unused([held, again])).toEqual([other]);
    expect([made.isPrepared(other), made.isPrepared(again)]).toEqual([true, false]);

    const sessionsOf = (method: string) =>
      new Set(plain.filter((call) => call.method === method).map(({ params }) => params.session));
    const [first, second] = sessionsOf('plain.run');
    await made.drop(held);
    expect(sessionsOf('plain.release')).toEqual(new Set([first]));
    expect(calls).not.toContain('model.unload');
    await made.drop(other);
    expect(sessionsOf('plain.release')).toEqual(new Set([first, second]));
    expect(calls).toContain('model.unload');
  });
});
