import { modelConfigSchema } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { judgeDeath } from './deaths.js';
import { toleranceOf } from './tolerance.js';

describe('toleranceOf', () => {
  const config = modelConfigSchema.parse({});
  const loose = modelConfigSchema.parse({ tolerance: { relative: 0.3 } });
  const cpu = { provider: 'cpu', tf32: false } as const;
  const tf32 = { provider: 'cuda', tf32: true } as const;

  it('follows dtype, provider and tf32', () => {
    expect(toleranceOf('float64', ['float64'], config, tf32)).toBe(1e-6);
    expect(toleranceOf('float32', ['float32'], config, cpu)).toBe(1e-4);
    expect(toleranceOf('float32', ['float32'], config, { provider: 'cuda', tf32: false })).toBe(1e-3);
    expect(toleranceOf('float32', ['float32'], config, tf32)).toBe(5e-2);
    expect(toleranceOf('float16', ['float32'], config, cpu)).toBe(2e-2);
    expect(toleranceOf('float32', ['bfloat16'], config, cpu)).toBe(2e-2);
  });

  it('is what the yaml says for floats, and never more than nothing for the rest', () => {
    expect(toleranceOf('float32', ['float32'], loose, cpu)).toBe(0.3);
    expect(toleranceOf('int64', ['float32'], loose, cpu)).toBe(0);
    expect(toleranceOf('string', ['string'], loose, cpu)).toBe(0);
  });
});

describe('judgeDeath', () => {
  const suspicion = { deaths: 1, trialFirst: true };

  it('puts a lane on trial after the first death, whoever caused it', () => {
    for (const external of [true, false]) {
      expect(judgeDeath(null, { where: 'runtime', external, serving: false })).toEqual({
        verdict: 'trial-first',
        suspicion,
      });
    }
  });

  it('quarantines after a second one: in the trial, or in the runtime by itself', () => {
    expect(judgeDeath(suspicion, { where: 'trial', external: true, serving: false })).toEqual({
      verdict: 'quarantine',
    });
    expect(judgeDeath(suspicion, { where: 'trial', external: false, serving: false })).toEqual({
      verdict: 'quarantine',
    });
    expect(judgeDeath({ deaths: 1, trialFirst: false }, { where: 'runtime', external: false, serving: false })).toEqual(
      {
        verdict: 'quarantine',
      },
    );
  });

  it('tries again where somebody killed the runtime of a lane that passed its trial', () => {
    expect(judgeDeath({ deaths: 1, trialFirst: false }, { where: 'runtime', external: true, serving: false })).toEqual({
      verdict: 'trial-first',
      suspicion: { deaths: 2, trialFirst: true },
    });
  });

  it('counts no death beside a request, however often one comes; the disposable process alone then counts', () => {
    const beside = { where: 'runtime', external: false, serving: true } as const;
    const alone = { where: 'trial', external: false, serving: false } as const;
    const first = judgeDeath(null, beside);
    expect(first).toEqual({ verdict: 'trial-first', suspicion: { deaths: 0, trialFirst: true } });
    expect(judgeDeath({ deaths: 0, trialFirst: false }, beside)).toEqual(first);
    expect(judgeDeath({ deaths: 2, trialFirst: false }, beside)).toEqual({
      verdict: 'trial-first',
      suspicion: { deaths: 2, trialFirst: true },
    });
    expect(judgeDeath({ deaths: 0, trialFirst: true }, alone)).toEqual({ verdict: 'trial-first', suspicion });
    expect(judgeDeath(suspicion, alone)).toEqual({ verdict: 'quarantine' });
  });
});
