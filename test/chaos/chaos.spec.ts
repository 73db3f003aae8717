import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { SeededRandom, testSeed } from '../support/seeded-random.js';
import type { Act, StormPlan } from './faults.fixture.js';
import type { Role } from './warmlane-system.fixture.js';
import { WeatherStation } from './weather.fixture.js';

const SEED = testSeed();
const random = new SeededRandom(SEED);

/** On a machine that others keep busy all takes its time: the bounds are those of {@link WeatherStation}. */
vi.setConfig({ testTimeout: 600_000, hookTimeout: 300_000 });
const say = (text: string): boolean => process.stderr.write(`chaos, seed ${SEED}: ${text}\n`);

/** Errors with which a request may end while others than the children of a worker die. */
const PASSING = ['redis-away', 'not-ready', 'worker-gone', 'broken'];

interface Case {
  name: string;
  targets: Role[];
  acts: Act[];
  faults: number;
  /** Errors that a client may see. */
  allowed: string[];
}

function plan({ targets, acts, faults }: Case): StormPlan {
  return { targets, acts, faults, pauseMs: [200, 1_500], frozenMs: [300, 3_500] };
}

let station: WeatherStation | null = null;
const use = (workers: number): void => {
  beforeAll(async () => {
    station = await WeatherStation.start({ workers }, say);
  });
  afterAll(async () => {
    await station?.[Symbol.asyncDispose]();
    station = null;
  });
};

async function survive(given: Case): Promise<void> {
  if (station === null) throw new Error('no system');
  const { done, ledger, warmups } = await station.pass(plan(given), random.fork());
  expect(done).toHaveLength(given.faults);
  expect(ledger.offences(new Set(given.allowed))).toEqual([]);
  expect(warmups.problems).toEqual([]);
  for (const way of ['http', 'json', 'async', 'idempotent', 'queue'] as const) {
    expect(ledger.count('right', way), way).toBeGreaterThan(0);
  }
}

describe('one worker', () => {
  use(1);
  it.each<Case>([
    { name: 'runtime', targets: ['runtime'], acts: ['kill', 'freeze'], faults: 2, allowed: [] },
    {
      name: 'reference and fallback',
      targets: ['reference', 'fallback'],
      acts: ['kill', 'freeze'],
      faults: 3,
      allowed: [],
    },
    { name: 'worker', targets: ['worker'], acts: ['kill', 'freeze', 'term'], faults: 2, allowed: [] },
    { name: 'api', targets: ['api'], acts: ['kill', 'freeze', 'term'], faults: 3, allowed: ['broken', 'not-ready'] },
    { name: 'Redis', targets: ['redis'], acts: ['kill', 'freeze', 'term'], faults: 3, allowed: ['redis-away'] },
  ])('loses nothing while the $name dies', survive);

  it('keeps nothing in Redis beyond its bounds', async () => {
    await station?.quiet();
  });

  it('ends with 0 at SIGTERM and leaves no process behind', async () => {
    const startedAt = performance.now();
    expect(await station?.system.end('SIGTERM')).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    expect(await station?.system.remains()).toEqual([]);
  });
});

describe('two workers', () => {
  use(2);
  it.each<Case>([
    { name: 'workers die', targets: ['worker'], acts: ['kill', 'freeze', 'term'], faults: 3, allowed: [] },
    {
      name: 'everything dies in turn',
      targets: ['runtime', 'redis', 'worker', 'api', 'fallback', 'reference'],
      acts: ['kill', 'freeze', 'term'],
      faults: 6,
      allowed: PASSING,
    },
  ])('lose nothing while $name', survive);

  it('keep nothing in Redis beyond its bounds', async () => {
    await station?.quiet();
  });

  it('do what was accepted after serve was killed and started again on what it left', async () => {
    expect(await station?.killServe(random.fork())).toEqual([]);
  });
});
