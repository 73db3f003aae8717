import { keys, PREFIX, WarmupStore, WorkerStore } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { MODEL, registerEcho, type StandInWorker } from './stand-in-worker.fixture.js';
import { finished, never, ready, request, SHAPES, useWarmups } from './warmups.fixture.js';

const { redisOf: fixture, startCoordinator, startWorker, parentCounts } = useWarmups();

const SOON = { sweep: { everyMs: 100, keptMs: 300 } };
const waiting = { timeout: 10_000, interval: 50 };
const queueKeys = (worker: string): Promise<string[]> => fixture.redis.keys(`${PREFIX}:warm-lane.${worker}:*`);

/** As after 24 h, when nobody knows of a killed worker any more. */
async function forget(worker: string): Promise<void> {
  await fixture.redis.del(keys.worker(worker), keys.present(worker), keys.alive(worker), keys.slot(worker));
  await fixture.redis.srem(keys.workers(), worker);
}

async function leave(worker: StandInWorker): Promise<void> {
  await worker.stop();
  await new WorkerStore(fixture.redis).remove(worker.id);
}

/** What there is without a time to live, of queues and of the worker's lanes. */
async function lasting(worker: string): Promise<string[]> {
  const all = [...(await queueKeys(worker)), keys.workerLanes(worker), keys.workerHoldings(worker)];
  const found = await Promise.all(all.map(async (key) => ((await fixture.redis.ttl(key)) === -1 ? [key] : [])));
  return found.flat();
}

describe('what a worker leaves that never comes back', () => {
  it('goes with the last use of its queue; the queues of the others stay', async () => {
    await registerEcho(fixture.redis);
    const [stays, leaves] = [await startWorker('a-0'), await startWorker('b-0')];
    await stays.warmLanes(ready);
    await leaves.warmLanes(ready);
    // Every process of the API sweeps.
    const coordinator = await startCoordinator(SOON);
    await startCoordinator(SOON);
    const { id } = await coordinator.create(request({ replicas: 2 }));
    expect(await finished(coordinator, id)).toMatchObject({ state: 'ready', ready: 8 });
    expect(stays.warmed).toHaveLength(4);
    expect(leaves.warmed).toHaveLength(4);
    await leave(leaves);
    await vi.waitFor(async () => expect(await queueKeys('b-0')).toEqual([]), waiting);

    expect(await fixture.redis.zcard(`${PREFIX}:warm-lane.a-0:completed`)).toBe(4);
    expect(await fixture.redis.hget(`${PREFIX}:warm-lane.a-0:meta`, 'opts.maxLenEvents')).toBe('100');
    // Its lanes are shown as STALE for a day; then the last mention of it goes.
    const ids = await fixture.redis.smembers(keys.workerLanes('b-0'));
    expect(ids).toHaveLength(4);
    await vi.waitFor(async () => {
      const ttls = await Promise.all(ids.map((lane) => fixture.redis.ttl(keys.lane(lane))));
      expect(Math.min(...ttls)).toBeGreaterThan(0);
    }, waiting);
    await fixture.redis.del(...ids.map(keys.lane));
    await vi.waitFor(async () => {
      expect(await fixture.redis.zrange(keys.warmLaneQueues(), '0', '-1')).toEqual(['a-0']);
    }, waiting);
    expect(await lasting('b-0')).toEqual([]);
    // A worker that comes again under that id is served as ever.
    const again = await startWorker('b-0');
    await again.warmLanes(ready);
    const next = await coordinator.create(request({ replicas: 2, shapes: ['x:float32[1,9]'] }));
    expect(await finished(coordinator, next.id)).toMatchObject({ state: 'ready', ready: 2 });
    expect(await fixture.redis.hget(`${PREFIX}:warm-lane.b-0:meta`, 'opts.maxLenEvents')).toBe('100');
  });

  it('stays while a warm-up that asked it is not finished', async () => {
    await registerEcho(fixture.redis);
    const [asked, other] = [await startWorker('a-0'), await startWorker('b-0')];
    await asked.warmLanes(ready);
    await other.warmLanes(ready);
    const store = new WarmupStore(fixture.redis);
    const input = { model: MODEL, version: '1', replicas: null, priority: 5, options: {}, tune: false };
    const { doc } = await store.create({ ...input, shapes: SHAPES, deadlineMs: 60_000 });
    // Planned, and nothing of its flow waits in the queue.
    const assignments = [{ shapeKey: SHAPES[0] ?? '', worker: 'a-0' }];
    expect(await store.assign(doc.id, 1, assignments)).toBe(true);
    await leave(asked);
    await leave(other);
    expect(await queueKeys('b-0')).not.toEqual([]);
    const coordinator = await startCoordinator(SOON);
    // What was used longer ago is looked at first.
    await vi.waitFor(async () => expect(await queueKeys('b-0')).toEqual([]), waiting);
    expect(await queueKeys('a-0')).toContain(`${PREFIX}:warm-lane.a-0:meta`);

    await coordinator.cancel(doc.id);
    await vi.waitFor(async () => expect(await queueKeys('a-0')).toEqual([]), waiting);
  });

  it('is ended where nobody waits for it: jobs that a killed worker ran for a warm-up that was canceled', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker('a-0');
    await worker.warmLanes(never);
    const coordinator = await startCoordinator(SOON);
    const { id } = await coordinator.create(request());
    await vi.waitFor(() => expect(worker.warmed).toHaveLength(4));
    await worker.die();
    await coordinator.cancel(id);
    expect(await finished(coordinator, id)).toMatchObject({ state: 'canceled' });
    await forget('a-0');
    // Its jobs are had when their locks end, 10 s after they were renewed last.
    await vi.waitFor(async () => expect(await parentCounts()).toMatchObject({ 'waiting-children': 0, completed: 1 }), {
      timeout: 30_000,
      interval: 100,
    });
    await vi.waitFor(async () => expect(await queueKeys('a-0')).toEqual([]), waiting);
    expect(await fixture.redis.zcard(keys.warmLaneQueues())).toBe(0);
  }, 60_000);
});
