import { MemoryBudget } from '@warmlane/lanes';
import { heldVersion } from '@warmlane/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { HeldVersion } from '../models/held-version.js';
import { IdleWork } from './idle-work.js';
import { Lane } from './lane.js';
import { LaneRegistry } from './lane-registry.js';
import { laneSpecOf } from './lane-spec.js';

const MIB = 2 ** 20;
const held: HeldVersion = heldVersion();

interface Bench {
  work: IdleWork;
  registry: LaneRegistry;
  budget: MemoryBudget;
  watcher: { quietMs: number };
  done: string[];
  /** Looks, and waits for what was begun. */
  look: () => Promise<void>;
}

function bench(unused: HeldVersion[] = []): Bench {
  const done: string[] = [];
  const note = (what: string) => (): Promise<void> => {
    done.push(what);
    return Promise.resolve();
  };
  const registry = new LaneRegistry();
  const budget = new MemoryBudget(100 * MIB);
  const watcher = { quietMs: 60_000 };
  const hello = Promise.reject(new Error('no runtime in this test'));
  hello.catch(() => undefined);
  const work = new IdleWork(
    {
      renew: () => {
        done.push('renew');
        budget.reset();
        return hello;
      },
    },
    registry,
    { budget },
    watcher,
    { measureDue: note('measure') },
    { unused: () => unused, drop: note('drop'), isPrepared: () => true, prepare: note('prepare') },
    { drop: note('drop reference'), samplesOf: () => Promise.reject(new Error('not asked for')) },
    { plans: { entries: () => Promise.resolve([]) } },
    { info: () => undefined, warn: () => undefined, error: () => undefined },
  );
  const look = async (): Promise<void> => {
    done.length = 0;
    work.look([held]);
    await vi.advanceTimersByTimeAsync(0);
  };
  return { work, registry, budget, watcher, done, look };
}

/** A lane that left and of whose 40 MiB only 5 came back. */
function lose(budget: MemoryBudget): void {
  budget.admit({ lane: 'a', model: 'm', bytes: 40 * MIB, weights: null, modelCap: null, successor: false });
  budget.release('a', 5 * MIB);
}

describe('what a version that is not served any more held', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is given back, its reference only where no other version has its bytes', async () => {
    const same = bench([{ ...held, version: '2' }]);
    await same.look();
    expect(same.done).toEqual(['drop', 'measure']);
    const other = bench([{ ...held, version: '2', files: { ...held.files, digest: 'other' } }]);
    await other.look();
    expect(other.done).toEqual(['drop', 'drop reference', 'measure']);
  });
});

describe('the planned restart of the runtime', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('comes once more than 30 % of the budget did not come back, and nobody asked for anything for 10 s', async () => {
    const { budget, watcher, done, look } = bench();
    await look();
    expect(done).toEqual(['measure']);
    lose(budget);
    watcher.quietMs = 9_000;
    await look();
    expect(done).toEqual(['measure']);
    watcher.quietMs = 11_000;
    await look();
    expect(done).toEqual(['measure', 'renew']);
    await look();
    expect(done).toEqual(['measure']);
  });

  it('waits for lanes that are being warmed', async () => {
    const { registry, budget, done, look } = bench();
    lose(budget);
    const lane = new Lane(laneSpecOf(held, { shapeKey: 'x:float32[2]', options: {} }, 'cpu'), 'plan', 1, 5, '');
    registry.add(lane);
    await look();
    expect(done).toEqual([]);
    lane.state = 'READY';
    await look();
    expect(done).toEqual(['measure', 'renew']);
  });

  it('takes a short pause where there was no long one for ten minutes', async () => {
    const { budget, watcher, done, look } = bench();
    lose(budget);
    watcher.quietMs = 1_000;
    await look();
    await vi.advanceTimersByTimeAsync(599_000);
    await look();
    expect(done).toEqual(['measure']);
    await vi.advanceTimersByTimeAsync(2_000);
    watcher.quietMs = 100;
    await look();
    expect(done).toEqual(['measure']);
    watcher.quietMs = 1_000;
    await look();
    expect(done).toEqual(['measure', 'renew']);
  });
});
