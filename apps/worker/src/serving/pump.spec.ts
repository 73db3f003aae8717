import type { Scheduled } from '@warmlane/lanes';
import { describe, expect, it } from 'vitest';
import { Pump } from './pump.js';

interface Item extends Scheduled {
  id: string;
}

const item = (id: string, deadlineAt = 30_000): Item => ({ id, class: 'a', arrivedAt: 0, deadlineAt, priority: 5 });

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

describe('Pump', () => {
  it('runs at once what finds a free device, and chooses the next only when a place is free', async () => {
    const { begun, run, end } = device();
    const pump = new Pump<Item>(1, () => 0, run);
    pump.add(item('first'));
    pump.add(item('patient'));
    pump.add(item('urgent', 100));
    expect(begun).toEqual(['first']);
    end();
    await Promise.resolve();
    await Promise.resolve();
    expect(begun).toEqual(['first', 'urgent']);
    expect(pump.waiting).toBe(1);
  });

  it('keeps as many runs under way as it is deep', () => {
    const { begun, run } = device();
    const pump = new Pump<Item>(2, () => 0, run);
    for (const id of ['a', 'b', 'c']) pump.add(item(id));
    expect(begun).toEqual(['a', 'b']);
  });

  it('gives back what is expired or matches, but nothing that has begun', () => {
    const { run } = device();
    let now = 0;
    const pump = new Pump<Item>(1, () => now, run);
    for (const id of ['running', 'late', 'other']) pump.add(item(id, id === 'late' ? 10 : 30_000));
    now = 20;
    expect(pump.takeExpired().map((work) => work.id)).toEqual(['late']);
    expect(pump.takeWhere((work) => work.id !== 'none').map((work) => work.id)).toEqual(['other']);
  });
});
