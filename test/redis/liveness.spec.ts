import { setTimeout as delay } from 'node:timers/promises';
import {
  HEARTBEAT_EVERY_MS,
  Holders,
  keys,
  LaneStore,
  Liveness,
  PRESENT_TTL_MS,
  parseHolder,
  WorkerStore,
} from '@warmlane/redis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readyDoc } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const CLASS = 'x:float32[b,3,48,320]';
const fixture = useRedis({ persistence: 'aof' });
const workers = (): WorkerStore => new WorkerStore(fixture.redis);
let liveness: Liveness;
let timers: NodeJS.Timeout[] = [];

/** Beats like a worker, on a connection of its own. Returns the way to let it die. */
function beat(id: string, epoch: number): () => void {
  const store = new WorkerStore(fixture.connect(id));
  const tick = (): void => void store.heartbeat(id, epoch);
  tick();
  const timer = setInterval(tick, HEARTBEAT_EVERY_MS);
  timers.push(timer);
  return () => clearInterval(timer);
}
const live = async (): Promise<[string, number][]> => Array.from(await liveness.live()).sort();

beforeEach(() => {
  liveness = new Liveness(fixture.connect('reader'));
});
afterEach(() => {
  liveness.close();
  for (const timer of timers) clearInterval(timer);
  timers = [];
});

/** Collects what was ever seen not to be live while `during` runs. */
async function missedDuring(expected: readonly string[], during: () => Promise<void>): Promise<Set<string>> {
  const missed = new Set<string>();
  let running = true;
  const watching = (async () => {
    while (running) {
      const seen = await liveness.live();
      for (const worker of expected) if (!seen.has(worker)) missed.add(worker);
      await delay(10);
    }
  })();
  await during();
  running = false;
  await watching;
  return missed;
}

describe('Liveness', () => {
  it('knows who beats and in which epoch, and who stopped after 1 s', async () => {
    beat('w-0', 3);
    const die = beat('w-1', 1);
    await vi.waitFor(async () =>
      expect(await live()).toEqual([
        ['w-0', 3],
        ['w-1', 1],
      ]),
    );
    expect(await liveness.isLive('w-0', 3)).toBe(true);
    expect(await liveness.isLive('w-0', 2)).toBe(false);
    die();
    const died = performance.now();
    await vi.waitFor(async () => expect(await live()).toEqual([['w-0', 3]]), { timeout: 5_000, interval: 20 });
    expect(performance.now() - died).toBeGreaterThan(600);
    expect(performance.now() - died).toBeLessThan(2_000);
  });

  it('asks Redis at most ten times a second, however often it is asked', async () => {
    beat('w-0', 1);
    await vi.waitFor(async () => expect(await live()).toHaveLength(1));
    const calls = async (): Promise<number> =>
      Number(/cmdstat_smembers:calls=(\d+)/.exec(await fixture.redis.info('commandstats'))?.[1]);
    const before = await calls();
    const until = performance.now() + 1_000;
    while (performance.now() < until) {
      await liveness.live();
      await new Promise(setImmediate);
    }
    expect((await calls()) - before).toBeLessThanOrEqual(12);
  });

  it('nobody expires when Redis stood still for 3 s; who is dead then is found a second later', async () => {
    const ids = Array.from({ length: 10 }, (_, n) => `w-${n}`);
    const deaths = ids.map((id) => beat(id, 1));
    await vi.waitFor(async () => expect(await live()).toHaveLength(10));
    const missed = await missedDuring(ids, async () => {
      fixture.server.pause();
      await delay(3_000);
      fixture.server.resume();
      await delay(1_500);
    });
    expect(Array.from(missed)).toEqual([]);
    deaths[0]?.();
    await vi.waitFor(async () => expect(await live()).toHaveLength(9), { timeout: 5_000 });
  });

  it('nobody expires when Redis was killed and came back after 3 s', async () => {
    const ids = ['w-0', 'w-1', 'w-2'];
    for (const id of ids) beat(id, 1);
    const die = beat('w-dead', 1);
    await vi.waitFor(async () => expect(await live()).toHaveLength(4));
    const missed = await missedDuring(ids, async () => {
      await fixture.server.kill();
      die();
      await delay(3_000);
      await fixture.server.restart();
      await vi.waitFor(async () => expect((await liveness.live()).has('w-dead')).toBe(false), { timeout: 8_000 });
    });
    expect(Array.from(missed)).toEqual([]);
    // Nothing counts as gone for 15 s, although every key of the dead one has expired or will.
    await fixture.redis.del(keys.present('w-dead'));
    expect(await liveness.gone()).toEqual([]);
  });

  it('gives nobody up in its first 15 s, and afterwards only who has no sign of life', async () => {
    beat('w-0', 1);
    await workers().heartbeat('w-gone', 1);
    await fixture.redis.del(keys.present('w-gone'));
    expect(await liveness.gone()).toEqual([]);
    const started = performance.now();
    await vi.waitFor(async () => expect(await liveness.gone()).toEqual(['w-gone']), { timeout: 20_000, interval: 100 });
    expect(performance.now() - started).toBeGreaterThan(PRESENT_TTL_MS - 1_000);
  });
});

describe('Holders', () => {
  it('are those who hold the class in the epoch in which they live', async () => {
    const lanes = new LaneStore(fixture.redis);
    const holders = new Holders(fixture.redis, liveness);
    const of = () => holders.of('rec', '1', CLASS);
    expect(await of()).toEqual([]);
    for (const id of ['h-0', 'h-1']) await workers().nextEpoch(id);
    beat('h-0', 1);
    const die = beat('h-1', 1);
    await lanes.ready(readyDoc({ worker: 'h-0' }), CLASS);
    await lanes.ready(readyDoc({ worker: 'h-0' }), CLASS);
    await lanes.ready(readyDoc({ worker: 'h-1' }), CLASS);
    await vi.waitFor(async () => expect(await of()).toEqual(['h-0:1', 'h-1:1']));
    expect(parseHolder('h-0:1')).toEqual({ worker: 'h-0', epoch: 1 });
    expect(parseHolder('h-0')).toBeNull();
    die();
    await vi.waitFor(async () => expect(await of()).toEqual(['h-0:1']), { timeout: 5_000 });
    // Late is not gone: its places are kept.
    expect(await fixture.redis.scard(keys.holders('rec', '1', CLASS))).toBe(3);
    expect(await workers().nextEpoch('h-0')).toBe(2);
    await vi.waitFor(async () => expect(await of()).toEqual([]));
    expect(await fixture.redis.scard(keys.holders('rec', '1', CLASS))).toBe(1);
  });

  it('entries of an epoch that is over leave when they are found', async () => {
    const holders = new Holders(fixture.redis, liveness);
    await fixture.redis.sadd(keys.holders('rec', '1', CLASS), 'h-0:1:old', 'h-0:2:new', 'h-9:1:unknown');
    await workers().nextEpoch('h-0', 1);
    beat('h-0', 2);
    await vi.waitFor(async () => expect(await holders.of('rec', '1', CLASS)).toEqual(['h-0:2']));
    await vi.waitFor(
      async () => {
        await holders.of('rec', '1', CLASS);
        expect((await fixture.redis.smembers(keys.holders('rec', '1', CLASS))).sort()).toEqual([
          'h-0:2:new',
          'h-9:1:unknown',
        ]);
      },
      { timeout: 5_000 },
    );
  });
});
