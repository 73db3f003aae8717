import { describe, expect, it } from 'vitest';
import { type AdmissionRequest, MemoryBudget } from './admission.js';

const MIB = 2 ** 20;
const request = (lane: string, mib: number, over: Partial<AdmissionRequest> = {}): AdmissionRequest => ({
  lane,
  model: 'rec',
  bytes: mib * MIB,
  weights: null,
  modelCap: null,
  successor: false,
  ...over,
});

describe('weights that lanes share', () => {
  const shared = { weights: { key: 'rec', bytes: 50 * MIB } };

  it('count once, also against the cap of the model, and leave with the last lane', () => {
    const budget = new MemoryBudget(100 * MIB);
    const cap = { ...shared, modelCap: 61 * MIB };
    expect(budget.admit(request('a', 5, cap))).toEqual({ admitted: true });
    expect(budget.used).toBe(55 * MIB);
    expect(budget.admit(request('b', 5, cap))).toEqual({ admitted: true });
    expect([budget.used, budget.ofModel('rec')]).toEqual([60 * MIB, 60 * MIB]);
    expect(budget.admit(request('c', 5, cap))).toMatchObject({ admitted: false, never: false });
    budget.release('a', 5 * MIB);
    expect([budget.used, budget.lost]).toEqual([55 * MIB, 0]);
    budget.release('b', 15 * MIB);
    expect([budget.used, budget.lost]).toEqual([0, 40 * MIB]);
  });

  it('count for the first lane, which is refused for good where they alone are too much', () => {
    const budget = new MemoryBudget(40 * MIB);
    const refused = budget.admit(request('a', 5, shared));
    expect(refused).toMatchObject({ admitted: false, never: true, reason: expect.stringContaining('55 MiB') });
    expect(budget.used).toBe(0);
  });
});

describe('MemoryBudget', () => {
  it('keeps a reserve of the largest lane, which a successor may use', () => {
    const budget = new MemoryBudget(100 * MIB);
    expect(budget.admit(request('a', 40))).toEqual({ admitted: true });
    expect(budget.admit(request('b', 20))).toEqual({ admitted: true });
    const refused = budget.admit(request('c', 10));
    expect(refused).toMatchObject({ admitted: false, never: false });
    expect(refused).toHaveProperty(
      'reason',
      'memory: the lane needs 10 MiB, 0.0 MiB of 100 MiB are left beside a reserve of 40 MiB; raise --gpu-memory or take shapes out of the plan',
    );
    expect(budget.admit(request('a2', 40, { successor: true }))).toEqual({ admitted: true });
    expect(budget.used).toBe(100 * MIB);
  });

  it('takes a first lane of any size up to the whole, and says what never fits', () => {
    expect(new MemoryBudget(100 * MIB).admit(request('a', 100))).toEqual({ admitted: true });
    expect(new MemoryBudget(100 * MIB).admit(request('a', 101))).toMatchObject({ admitted: false, never: true });
  });

  it('books a lane again with what was measured, without counting it twice', () => {
    const budget = new MemoryBudget(100 * MIB);
    budget.admit(request('a', 10));
    expect(budget.admit(request('a', 30))).toEqual({ admitted: true });
    expect(budget.used).toBe(30 * MIB);
    expect(budget.fits(request('b', 30))).toBe(true);
    expect(budget.used).toBe(30 * MIB);
  });

  it('obeys the cap of a model', () => {
    const budget = new MemoryBudget(1000 * MIB);
    expect(budget.admit(request('a', 40, { modelCap: 50 * MIB }))).toEqual({ admitted: true });
    expect(budget.admit(request('b', 20, { modelCap: 50 * MIB }))).toMatchObject({ admitted: false, never: false });
    expect(budget.admit(request('c', 60, { modelCap: 50 * MIB }))).toMatchObject({ admitted: false, never: true });
    expect(budget.admit(request('d', 60, { model: 'det' }))).toEqual({ admitted: true });
  });

  it('counts what an eviction does not give back, and asks for a restart above 30 %', () => {
    const budget = new MemoryBudget(100 * MIB);
    budget.admit(request('a', 40));
    budget.release('a', 20 * MIB);
    expect(budget.lost).toBe(20 * MIB);
    expect(budget.restartDue).toBe(false);
    budget.admit(request('b', 40));
    budget.release('b', -5 * MIB);
    expect(budget.lost).toBe(60 * MIB);
    expect(budget.restartDue).toBe(true);
    expect(budget.admit(request('c', 50))).toMatchObject({ admitted: false });
    budget.reset();
    expect(budget.admit(request('c', 50))).toEqual({ admitted: true });
    budget.release('c', null);
    expect(budget.lost).toBe(0);
  });
});
