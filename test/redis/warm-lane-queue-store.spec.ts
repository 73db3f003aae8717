import { createQueue, createWorker, WARMUP_SETTINGS } from '@warmlane/queues';
import { keys, LaneStore, PREFIX, WarmLaneQueueStore, WorkerStore, warmLaneQueueName } from '@warmlane/redis';
import type { Redis } from 'ioredis';
import { describe, expect, it, vi } from 'vitest';
import { laneDoc, workerDoc } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const KEPT = { eventsKept: 100 };
const NOW = { keptMs: 0 };

/** Everything that BullMQ keeps of a worker's warm-up queue. */
const remains = (redis: Redis, worker: string): Promise<string[]> =>
  redis.keys(`${PREFIX}:${warmLaneQueueName(worker)}:*`);

/** Runs jobs on a worker's queue, every third of which fails, and closes it. */
async function finishJobs(redis: Redis, worker: string, count: number): Promise<void> {
  const name = warmLaneQueueName(worker);
  const queue = createQueue<{ n: number }>(name, { redis });
  await queue.addBulk(
    Array.from({ length: count }, (_, n) => ({ name: 'warm-lane', data: { n }, opts: { priority: 1 + (n % 3) } })),
  );
  const consumer = createWorker<{ n: number }, null>(
    name,
    ({ data }) => (data.n % 3 === 0 ? Promise.reject(new Error('no')) : Promise.resolve(null)),
    { redis, settings: WARMUP_SETTINGS, concurrency: 50, holder: worker },
  );
  const ended = async (): Promise<number> => queue.getJobCountByTypes('completed', 'failed');
  await vi.waitFor(async () => expect(await ended()).toBe(count), { timeout: 20_000 });
  await consumer.close();
  await queue.close();
}

describe('WarmLaneQueueStore', () => {
  const fixture = useRedis();

  it('forgets all of a queue, however many jobs ended on it, and nothing else', async () => {
    const { redis } = fixture;
    const queues = new WarmLaneQueueStore(redis);
    await queues.use(['w-0', 'w-1'], KEPT);
    await finishJobs(redis, 'w-1', 3);
    const others = await redis.keys('*');
    await finishJobs(redis, 'w-0', 1_200);
    expect((await remains(redis, 'w-0')).length).toBeGreaterThan(1_200);

    expect(await queues.drop('w-0', NOW)).toBe(true);
    expect(await remains(redis, 'w-0')).toEqual([]);
    expect((await redis.keys('*')).sort()).toEqual(
      others.filter((key) => !key.startsWith(`${PREFIX}:warm-lane.w-0:`)).sort(),
    );
    expect(await queues.list()).toEqual(['w-1']);
    expect(await queues.drop('w-0', NOW)).toBe(false);
  });

  it('keeps one that was used lately, by the clock of Redis', async () => {
    const { redis } = fixture;
    const queues = new WarmLaneQueueStore(redis);
    await queues.use(['w-0'], KEPT);
    await finishJobs(redis, 'w-0', 1);
    expect(await queues.drop('w-0', { keptMs: 60_000 })).toBe(false);
    expect(await redis.zadd(keys.warmLaneQueues(), Date.now() - 61_000, 'w-0')).toBe(0);
    expect(await queues.drop('w-0', { keptMs: 60_000 })).toBe(true);
    expect(await remains(redis, 'w-0')).toEqual([]);
  });

  it.each([
    ['document', keys.worker],
    ['sign of life', keys.alive],
    ['presence', keys.present],
    ['slot', keys.slot],
  ])('keeps one whose worker has a %s', async (_what, keyOf) => {
    const { redis } = fixture;
    const queues = new WarmLaneQueueStore(redis);
    await queues.use(['w-0'], KEPT);
    await finishJobs(redis, 'w-0', 1);
    const before = (await remains(redis, 'w-0')).sort();
    await redis.set(keyOf('w-0'), '1');
    expect(await queues.drop('w-0', NOW)).toBe(false);
    expect((await remains(redis, 'w-0')).sort()).toEqual(before);
    expect(await queues.list()).toEqual(['w-0']);
  });

  it.each([
    ['waits', {}],
    ['waits by its priority', { priority: 3 }],
    ['is delayed', { delay: 60_000 }],
  ])('keeps one with a job that %s', async (_how, opts) => {
    const { redis } = fixture;
    const queues = new WarmLaneQueueStore(redis);
    await queues.use(['w-0'], KEPT);
    const queue = createQueue(warmLaneQueueName('w-0'), { redis });
    const job = await queue.add('warm-lane', {}, opts);
    expect(await queues.drop('w-0', NOW)).toBe(false);
    await job.remove();
    expect(await queues.drop('w-0', NOW)).toBe(true);
    expect(await remains(redis, 'w-0')).toEqual([]);
    await queue.close();
  });

  it('keeps one with a job that runs', async () => {
    const { redis } = fixture;
    const queues = new WarmLaneQueueStore(redis);
    await queues.use(['w-0'], KEPT);
    const name = warmLaneQueueName('w-0');
    const queue = createQueue(name, { redis });
    await queue.add('warm-lane', {});
    let end: () => void = () => undefined;
    const running = new Promise<void>((resolve) => {
      end = resolve;
    });
    const consumer = createWorker<unknown, void>(name, () => running, {
      redis,
      settings: WARMUP_SETTINGS,
      concurrency: 1,
      holder: 'w-0',
    });
    await vi.waitFor(async () => expect(await queue.getActiveCount()).toBe(1));
    expect(await queues.drop('w-0', NOW)).toBe(false);
    end();
    await vi.waitFor(async () => expect(await queue.getCompletedCount()).toBe(1));
    await consumer.close();
    await queue.close();
    expect(await queues.drop('w-0', NOW)).toBe(true);
    expect(await remains(redis, 'w-0')).toEqual([]);
  });

  it('looks for what is left of a worker for as long as there is a lane of it', async () => {
    const { redis } = fixture;
    const [queues, lanes, workers] = [new WarmLaneQueueStore(redis), new LaneStore(redis), new WorkerStore(redis)];
    const epoch = await workers.nextEpoch('w-0');
    await workers.put(workerDoc({ epoch }));
    const lane = laneDoc({ epoch });
    await lanes.put(lane);
    await queues.use(['w-0'], KEPT);
    await workers.remove('w-0');
    expect(await queues.drop('w-0', NOW)).toBe(true);
    expect(await queues.list()).toEqual(['w-0']);
    expect(await remains(redis, 'w-0')).toEqual([]);
    await lanes.remove(lane.id);
    expect(await queues.drop('w-0', NOW)).toBe(true);
    expect(await queues.list()).toEqual([]);
  });
});
