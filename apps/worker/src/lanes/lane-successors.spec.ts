import { type PlanEntry, WarmlaneError, type WarmRecord } from '@warmlane/contracts';
import { isServing, mayMove } from '@warmlane/lanes';
import { heldVersion } from '@warmlane/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { IdentityService } from '../identity/identity.service.js';
import type { HeldVersion } from '../models/held-version.js';
import type { HeldVersions } from '../models/held-versions.js';
import type { RuntimePort } from '../ports.js';
import type { WorkerRedis } from '../redis.provider.js';
import type { Tunings } from '../tuning/tunings.js';
import type { Lane } from './lane.js';
import type { LaneDrain } from './lane-drain.js';
import { LaneFailures } from './lane-failures.js';
import { LaneManager } from './lane-manager.js';
import type { LaneMemory } from './lane-memory.js';
import type { LaneRecords } from './lane-records.js';
import { LaneRegistry } from './lane-registry.js';
import { LaneWatcher } from './lane-watcher.js';
import type { RuntimeLife } from './runtime-life.js';
import type { WarmQueue } from './warm-queue.js';

const RECORD_MS = 1;
const SLOW_MS = 10;
const MINUTE_MS = 60_000;
const held: HeldVersion = heldVersion();
const SHAPE = 'x:float32[3]';
const entry = { shapeKey: SHAPE, options: {}, warmups: [], priority: 5, addedAt: '' } as unknown as PlanEntry;

/** What a class needs of another in these tests. */
const part = <T>(members: Partial<T>): T => members as T;
const nothing = (): Promise<void> => Promise.resolve();

/** A worker's lanes with neither a runtime nor Redis: what fails and how long runs take is told. */
class Bench {
  readonly registry = new LaneRegistry();
  readonly moves: string[] = [];
  quarantined = false;
  /** What a run takes with nothing else asked of the lane, ms. */
  alonePerRunMs = SLOW_MS;
  private readonly manager: LaneManager;
  private readonly failures: LaneFailures;
  private readonly watcher: LaneWatcher;

  constructor() {
    const logger = {
      info: () => undefined,
      warn: () => undefined,
      error: (what: unknown) => expect.fail(String(what)),
    };
    const identity = part<IdentityService>({ provider: 'cpu' });
    Object.assign(identity, { epoch: 1, environment: 'e' });
    const records = part<LaneRecords>({
      move: async (lane, to) => {
        expect(lane.state === to || mayMove(lane.state, to), `${lane.state} to ${to}`).toBe(true);
        this.moves.push(to);
        lane.state = to;
      },
      formerId: async () => undefined,
      openSuspicion: async () => null,
      isQuarantined: async () => this.quarantined,
      closeStep: nothing,
    });
    const runtime = part<RuntimePort>({
      call: () => Promise.resolve({ runsMs: Array(20).fill(this.alonePerRunMs) }) as never,
    });
    const right = { right: true, relativeError: 0, tolerance: 1, reason: '' };
    const drain = part<LaneDrain>({ release: nothing, takeOut: nothing });
    const life = part<RuntimeLife>({ settled: nothing, over: nothing });
    Object.assign(life, { current: 0 });
    const tunings = part<Tunings>({ applied: async (spec) => spec });
    const memory = part<LaneMemory>({});
    const redis = {} as WorkerRedis;
    this.watcher = new LaneWatcher(
      runtime,
      records,
      { samplesOf: async () => ({ samples: [] }) as never },
      { prove: async () => ({ verdict: right, batch: undefined }) },
      { revisit: () => expect.fail('nothing is added beside it') },
      drain,
      logger,
    );
    const log = logger as never;
    this.failures = new LaneFailures(redis, identity, records, this.registry, drain, memory, life, tunings, log);
    const unused = {} as never;
    const models = part<HeldVersions>({ find: () => held });
    const queue = part<WarmQueue>({ wake: () => undefined });
    this.manager = new LaneManager(
      runtime,
      life,
      identity,
      models,
      this.registry,
      records,
      memory,
      drain,
      this.watcher,
      queue,
      unused,
      unused,
      tunings,
      unused,
      unused,
      log,
    );
  }

  get lanes(): Lane[] {
    return this.registry.all;
  }

  get serving(): Lane {
    const lane = this.registry.serving[0];
    if (lane === undefined) throw new Error('no lane serves');
    return lane;
  }

  /** The reconciler's tick. */
  tick(): Promise<void> {
    return this.manager.want([{ model: 'm', version: '1', entry }]);
  }

  /** The lane that is QUEUED now becomes READY. */
  becomesReady(): void {
    const lane = this.queued();
    lane.record = { steadyP50Ms: RECORD_MS } as WarmRecord;
    lane.startWatch(lane.record);
    lane.state = 'READY';
  }

  queued(): Lane {
    const lane = this.lanes.find(({ state }) => state === 'QUEUED');
    if (lane === undefined) throw new Error('no lane is QUEUED');
    return lane;
  }

  /** What is being warmed fails for good. */
  fails(): Promise<void> {
    const thrown = new WarmlaneError('bad-request', 'the graph refuses it');
    return this.failures.handle(this.queued(), thrown, { life: 0, where: 'runtime' });
  }

  /** A revisit beside a new lane finds it slow. */
  foundByRevisit(): Promise<void> {
    return this.watcher.check(this.serving, 'watch', 'revisited after a lane was added');
  }

  /** Two windows of 50 served runs, 10 s apart. @returns whether the lane was checked */
  async serves(ms: number): Promise<boolean> {
    const before = this.moves.length;
    for (let window = 0; window < 2; window += 1) {
      for (let run = 0; run < 50; run += 1) this.watcher.observe(this.serving, ms);
      await vi.advanceTimersByTimeAsync(10_000);
    }
    for (let run = 0; run < 50; run += 1) this.watcher.observe(this.serving, ms);
    await vi.waitFor(() => expect(this.serving.state).toBe('READY'));
    return this.moves.slice(before).includes('SUSPECT');
  }
}

describe('successors of a lane that became slow', () => {
  let bench: Bench;

  beforeEach(async () => {
    vi.useFakeTimers();
    bench = new Bench();
    await bench.tick();
    bench.becomesReady();
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  const failOnce = async (): Promise<void> => {
    expect(await bench.serves(SLOW_MS)).toBe(true);
    await bench.tick();
    await bench.fails();
  };

  it('watches it again after its successor failed, and tries another one only after a pause', async () => {
    await failOnce();
    expect([bench.serving.worn, bench.serving.watch]).toEqual([false, expect.anything()]);
    // Seen as it is: slow, and at rest.
    expect(await bench.serves(SLOW_MS)).toBe(false);
    for (let tick = 0; tick < 10; tick += 1) await bench.tick();
    expect(bench.lanes.map(({ state }) => state).sort()).toEqual(['FAILED', 'READY']);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(await bench.serves(SLOW_MS)).toBe(true);
    await bench.tick();
    expect(bench.lanes.map(({ state }) => state)).toEqual(['READY', 'QUEUED']);
  });

  it('makes no successor before its time where a revisit finds it slow as well', async () => {
    await failOnce();
    await bench.foundByRevisit();
    await bench.tick();
    expect(bench.lanes.map(({ state }) => state).sort()).toEqual(['FAILED', 'READY']);
    expect([bench.serving.worn, bench.serving.watch]).toEqual([false, expect.anything()]);
  });

  it('rests twice as long each time, an hour at most', async () => {
    for (const minutes of [1, 2, 4, 8, 16, 32, 60, 60]) {
      await failOnce();
      expect(bench.serving.restsUntil - performance.now()).toBe(minutes * MINUTE_MS);
      await vi.advanceTimersByTimeAsync(minutes * MINUTE_MS);
    }
  });

  it('starts with the shortest pause where it was fast again in between', async () => {
    await failOnce();
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    bench.alonePerRunMs = RECORD_MS;
    // Slowed by other load: nothing is made anew.
    expect(await bench.serves(SLOW_MS)).toBe(true);
    expect(bench.serving.worn).toBe(false);
    bench.alonePerRunMs = SLOW_MS;
    await failOnce();
    expect(bench.serving.restsUntil - performance.now()).toBe(MINUTE_MS);
  });

  it('makes none by itself of what ended processes, and goes on watching', async () => {
    await failOnce();
    bench.quarantined = true;
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(await bench.serves(SLOW_MS)).toBe(true);
    for (let tick = 0; tick < 3; tick += 1) await bench.tick();
    expect(bench.lanes.map(({ state }) => state).sort()).toEqual(['FAILED', 'READY']);
    expect([bench.serving.worn, bench.serving.watch]).toEqual([false, expect.anything()]);
    expect(bench.serving.restsUntil - performance.now()).toBe(2 * MINUTE_MS);
  });

  it('leaves the watch of a lane alone whose successor was wanted for other reasons', async () => {
    const { watch } = bench.serving;
    bench.serving.successorFailed(performance.now());
    expect([bench.serving.watch, bench.serving.restsUntil]).toEqual([watch, 0]);
    expect(isServing(bench.serving.state)).toBe(true);
  });
});
