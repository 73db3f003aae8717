import type { Scheduled } from '@warmlane/lanes';
import { describe, expect, it, vi } from 'vitest';
import { Pump } from './pump.js';

interface Item extends Scheduled {
  id: string;
  costMs: number;
}

const item = (id: string, deadlineAt = 30_000, costMs = 1): Item => ({
  id,
  class: 'a',
  enqueuedAt: 0,
  arrivedAt: 0,
  deadlineAt,
  priority: 5,
  costMs,
});

/** A device whose runs end when the test says so. */
function device() {
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const run = (work: Item) => {
    begun.push(work.id);
    return new Promise<void>((resolve) => ends.push(resolve));
  };
  return { begun, run, end: () => ends.shift()?.() };
}

function pumpOf(depth: number, run: (work: Item) => Promise<void>, now = () => 0): Pump<Item, Item> {
  const plan = ([work]: readonly Item[]) =>
    work === undefined ? { run: null, taken: [] } : { run: work, taken: [work] };
  return new Pump({ depth, aheadBelowMs: 2, costMs: (work) => work.costMs, now, plan, run });
}

describe('Pump', () => {
  it('runs at once what finds a free device, and chooses the next only when a place is free', async () => {
    const { begun, run, end } = device();
    const pump = pumpOf(1, run);
    pump.add(item('first'));
    pump.add(item('patient'));
    pump.add(item('urgent', 100));
    expect(begun).toEqual(['first']);
    end();
    await vi.waitFor(() => expect(begun).toEqual(['first', 'urgent']));
    expect(pump.waiting).toBe(1);
  });

  it('keeps as many runs under way as it is deep', async () => {
    const { begun, run } = device();
    const pump = pumpOf(2, run);
    for (const id of ['a', 'b', 'c']) pump.add(item(id));
    await vi.waitFor(() => expect(begun).toEqual(['a', 'b']));
    expect(pump.waiting).toBe(1);
  });

  it('chooses what goes ahead once all that arrives with it is there', async () => {
    const { begun, run } = device();
    const pump = pumpOf(2, run);
    for (const id of ['a', 'patient']) pump.add(item(id));
    pump.add(item('urgent', 100));
    expect(begun).toEqual(['a']);
    await vi.waitFor(() => expect(begun).toEqual(['a', 'urgent']));
  });

  it('leaves what is not to go ahead until the device is free, and forgets nothing', async () => {
    const { begun, run, end } = device();
    const plan = ([work]: readonly Item[], ahead: boolean) =>
      work === undefined || (ahead && work.id !== 'full') ? null : { run: work, taken: [work] };
    const pump = new Pump<Item, Item>({ depth: 2, aheadBelowMs: 2, costMs: () => 1, now: () => 0, plan, run });
    pump.add(item('a'));
    pump.add(item('b'));
    expect([begun, pump.waiting]).toEqual([['a'], 1]);
    end();
    await vi.waitFor(() => expect(begun).toEqual(['a', 'b']));
    pump.add(item('full'));
    await vi.waitFor(() => expect([begun, pump.waiting]).toEqual([['a', 'b', 'full'], 0]));
  });

  it('sends nothing ahead of its turn while a long run is under way', async () => {
    const { begun, run, end } = device();
    const pump = pumpOf(2, run);
    pump.add(item('long', 30_000, 5));
    pump.add(item('patient'));
    pump.add(item('urgent', 100));
    expect(begun).toEqual(['long']);
    end();
    await vi.waitFor(() => expect(begun).toEqual(['long', 'urgent', 'patient']));
  });

  it('runs together what gathered while the device was busy, and goes on after a turn that runs nothing', async () => {
    const begun: string[][] = [];
    const ends: (() => void)[] = [];
    const pump = new Pump<Item, Item[]>({
      depth: 1,
      aheadBelowMs: 0,
      costMs: () => 1,
      now: () => 0,
      plan: (waiting) => {
        const bad = waiting.filter(({ id }) => id.startsWith('bad'));
        if (bad.length > 0) return { run: null, taken: bad };
        return { run: waiting.slice(0, 3), taken: waiting.slice(0, 2) };
      },
      run: (batch) => {
        begun.push(batch.map(({ id }) => id));
        return new Promise<void>((resolve) => ends.push(resolve));
      },
    });
    for (const id of ['first', 'bad', 'a', 'b', 'c', 'bad too']) pump.add(item(id));
    expect(begun).toEqual([['first']]);
    ends.shift()?.();
    // The third of a run stays where it is: only a part of it was taken.
    await vi.waitFor(() => expect(begun).toEqual([['first'], ['a', 'b', 'c']]));
    expect(pump.waiting).toBe(1);
  });

  it('gives back what is expired or matches, but nothing that has begun', () => {
    const { run } = device();
    let now = 0;
    const pump = pumpOf(1, run, () => now);
    for (const id of ['running', 'late', 'other']) pump.add(item(id, id === 'late' ? 10 : 30_000));
    now = 20;
    expect(pump.takeExpired().map((work) => work.id)).toEqual(['late']);
    expect(pump.takeWhere((work) => work.id !== 'none').map((work) => work.id)).toEqual(['other']);
  });
});
