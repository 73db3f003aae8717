import { type LaneDoc, type PlanEntry } from '@warmlane/contracts';
import { heldVersion } from '@warmlane/testing';
import { describe, expect, it } from 'vitest';
import type { IdentityService } from '../identity/identity.service.js';
import type { HeldVersion } from '../models/held-version.js';
import type { RuntimePort } from '../ports.js';
import type { WorkerRedis } from '../redis.provider.js';
import { Lane } from './lane.js';
import { LaneDrain } from './lane-drain.js';
import type { LaneManager } from './lane-manager.js';
import type { LaneMemory } from './lane-memory.js';
import { LaneRecords } from './lane-records.js';
import { LaneRegistry } from './lane-registry.js';
import { laneSpecOf } from './lane-spec.js';
import { LaneUpkeep } from './lane-upkeep.js';
import type { LaneWatcher } from './lane-watcher.js';
import type { ListenerHub } from './listener-hub.js';
import type { RuntimeLife } from './runtime-life.js';

const held: HeldVersion = heldVersion();
const entry = { shapeKey: 'x:float32[3]', options: {}, warmups: [], priority: 5, addedAt: '' } as unknown as PlanEntry;
const part = <T>(members: Partial<T>): T => members as T;
const logger = { info: () => undefined, warn: () => undefined, debug: () => undefined, error: () => undefined };

/** One lane that serves, with a Redis that can refuse every write. */
class Bench {
  readonly registry = new LaneRegistry();
  readonly docs = new Map<string, LaneDoc>();
  readonly holders = new Set<string>();
  readonly released: string[] = [];
  readonly left: string[] = [];
  refuses = false;
  readonly records: LaneRecords;
  readonly drain: LaneDrain;
  readonly upkeep: LaneUpkeep;
  readonly lane = new Lane(laneSpecOf(held, entry, 'cpu'), 'plan', 1, 5, '');

  constructor() {
    const identity = part<IdentityService>({});
    Object.assign(identity, { id: 'w', epoch: 1 });
    const write = (doc: LaneDoc, then: () => void): Promise<boolean> => {
      if (this.refuses) return Promise.reject(new Error('OOM command not allowed'));
      this.docs.set(doc.id, doc);
      then();
      return Promise.resolve(true);
    };
    const lanes = {
      put: (doc: LaneDoc) => write(doc, () => undefined),
      ready: (doc: LaneDoc) => write(doc, () => this.holders.add(doc.id)),
      leave: (doc: LaneDoc) => write(doc, () => this.holders.delete(doc.id)),
      ofWorker: () => Promise.resolve([...this.docs.values()]),
    };
    const redis = { lanes } as unknown as WorkerRedis;
    this.records = new LaneRecords(redis, identity, logger as never);
    const runtime = {
      call: (method: string, { lane }: { lane: string }) => {
        if (method === 'lane.release') this.released.push(lane);
        return Promise.resolve({});
      },
    } as unknown as RuntimePort;
    const hub = part<ListenerHub>({
      laneLeaving: (ready) => {
        this.left.push(ready.id);
        return Promise.resolve();
      },
    });
    const memory = { budget: { release: () => undefined } } as unknown as LaneMemory;
    const life = part<RuntimeLife>({ settled: () => Promise.resolve() });
    this.drain = new LaneDrain(runtime, this.records, this.registry, memory, hub, life, logger as never);
    this.upkeep = new LaneUpkeep(
      redis,
      identity,
      this.registry,
      this.records,
      part<LaneManager>({}),
      part<LaneWatcher>({}),
      logger as never,
    );
    this.registry.add(this.lane);
  }

  async serve(): Promise<void> {
    for (const state of ['CREATING', 'SEARCHING', 'CAPTURING', 'MEASURING', 'VERIFYING', 'READY'] as const) {
      await this.records.move(this.lane, state);
    }
  }
}

describe('a lane that leaves while Redis refuses to be told', () => {
  it('finishes what runs and is released all the same; its place is free for another one', async () => {
    const bench = new Bench();
    await bench.serve();
    bench.refuses = true;
    await bench.drain.drain(bench.lane, 'plan', 'no longer wanted');
    expect(bench.left).toEqual([bench.lane.id]);
    expect(bench.released).toEqual([bench.lane.id]);
    expect(bench.registry.at(bench.lane.place)).toEqual([]);
  });

  it('is taken from the holders of its class, and forgotten, once Redis takes writes again', async () => {
    const bench = new Bench();
    await bench.serve();
    bench.refuses = true;
    await bench.drain.drain(bench.lane, 'plan', 'no longer wanted');
    expect(bench.holders).toEqual(new Set([bench.lane.id]));
    expect(bench.registry.find(bench.lane.id)).toBe(bench.lane);
    bench.refuses = false;
    await bench.upkeep.restore();
    expect(bench.holders).toEqual(new Set());
    expect(bench.docs.get(bench.lane.id)?.state).toBe('EVICTED');
    expect(bench.registry.find(bench.lane.id)).toBeNull();
  });

  it('is gone at once where Redis takes the writes', async () => {
    const bench = new Bench();
    await bench.serve();
    await bench.drain.drain(bench.lane, 'plan', 'no longer wanted');
    expect([bench.holders.size, bench.docs.get(bench.lane.id)?.state]).toEqual([0, 'EVICTED']);
    expect(bench.registry.find(bench.lane.id)).toBeNull();
  });
});
