import { createQueue, createWorker, SERVING_SETTINGS } from '@warmlane/queues';
import { ClassStore, classQueueName, coldQueueName, keys, LaneStore, PREFIX, WorkerStore } from '@warmlane/redis';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { describe, expect, it, vi } from 'vitest';
import { readyDoc, X, Y } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const CLASS = X;

/** Leaves one failed job in a queue, which nobody consumes any more. @returns what its keys begin with */
async function failOne(redis: Redis, name: string): Promise<string> {
  const queue = createQueue(name, { redis });
  await queue.add('infer', {}, { priority: 5 });
  const consumer = createWorker(name, () => Promise.reject(new Error('no')), {
    redis,
    settings: SERVING_SETTINGS,
    concurrency: 1,
    holder: 'w-0',
  });
  await vi.waitFor(async () => expect(await queue.getFailedCount()).toBe(1));
  await consumer.close();
  await queue.close();
  await redis.del(`${PREFIX}:${name}:stalled-check`);
  return `${PREFIX}:${name}`;
}

/** As if the failed jobs of a queue had ended so many ms ago. */
async function endedAgo(redis: Redis, queue: string, ageMs: number): Promise<void> {
  for (const job of await redis.zrange(`${queue}:failed`, '0', '-1')) {
    await redis.zadd(`${queue}:failed`, Date.now() - ageMs, job);
  }
}

describe('ClassStore', () => {
  const fixture = useRedis();

  it('knows every class that a lane was READY for, and forgets it with all of its queue', async () => {
    const { redis } = fixture;
    const classes = new ClassStore(redis);
    const lanes = new LaneStore(redis);
    const epoch = await new WorkerStore(redis).nextEpoch('w-0');
    const doc = readyDoc({ epoch });
    await lanes.ready(doc, CLASS);
    await classes.setPadding('rec', '1', CLASS, 'rules');
    await classes.setPadding('rec', '1', Y, 'others');
    expect(await classes.paddings('rec', '1')).toEqual({ [CLASS]: 'rules', [Y]: 'others' });
    expect(await classes.list('rec', '1')).toEqual([CLASS]);

    const queue = new Queue(classQueueName('rec', '1', CLASS), { connection: redis, prefix: PREFIX });
    await queue.add('infer', {});
    await queue.add('infer', {}, { priority: 5 });
    expect(await classes.look('rec', '1', [CLASS, Y])).toEqual([
      { jobs: 2, holders: [{ worker: 'w-0', epoch }] },
      { jobs: 0, holders: [] },
    ]);
    expect(await classes.drop('rec', '1', CLASS)).toBe(false);
    await lanes.leave({ ...doc, state: 'EVICTED' }, CLASS);
    expect(await classes.drop('rec', '1', CLASS)).toBe(false);

    await queue.drain();
    expect(await classes.drop('rec', '1', CLASS)).toBe(true);
    await queue.close();
    expect(await classes.list('rec', '1')).toEqual([]);
    expect(await redis.hgetall(keys.padding('rec', '1'))).toEqual({ [Y]: 'others' });
    await classes.setPadding('rec', '1', Y, null);
    expect(await classes.paddings('rec', '1')).toEqual({});
    expect(await redis.keys(`${PREFIX}:run.*`)).toEqual([]);
  });

  it('keeps a class with a failed job for an hour after that, and no longer', async () => {
    const { redis } = fixture;
    const classes = new ClassStore(redis);
    const queue = await failOne(redis, classQueueName('rec', '1', CLASS));
    await redis.sadd(keys.classes('rec', '1'), CLASS);
    expect(await classes.drop('rec', '1', CLASS)).toBe(false);
    await endedAgo(redis, queue, 3_601_000);
    expect(await classes.drop('rec', '1', CLASS)).toBe(true);
    expect(await redis.keys('*')).toEqual([]);
  });

  it('forgets a cold queue that has no jobs and no consumer, with the failed jobs of more than an hour ago', async () => {
    const { redis } = fixture;
    const classes = new ClassStore(redis);
    const name = coldQueueName('rec', '1');
    const queue = await failOne(redis, name);
    const options = { redis, settings: SERVING_SETTINGS, concurrency: 1, holder: 'w-0' };
    await endedAgo(redis, queue, 3_601_000);
    const consumer = createWorker(name, () => Promise.resolve(null), options);
    const check = `${PREFIX}:${name}:stalled-check`;
    await vi.waitFor(async () => expect(await redis.exists(check)).toBe(1));
    expect(await classes.dropCold('rec', '1')).toBe(false);
    await consumer.close();
    await redis.del(check);
    const open = createQueue(name, { redis });
    const job = await open.add('infer', {}, { priority: 2 });
    expect(await classes.dropCold('rec', '1')).toBe(false);
    await job.remove();
    await open.close();
    expect(await classes.dropCold('rec', '1')).toBe(true);
    expect(await redis.keys('*')).toEqual([]);
  });

  it('keeps a class that has a holder', async () => {
    const { redis } = fixture;
    const classes = new ClassStore(redis);
    const epoch = await new WorkerStore(redis).nextEpoch('w-0');
    await new LaneStore(redis).ready(readyDoc({ epoch }), CLASS);
    expect(await classes.drop('rec', '1', CLASS)).toBe(false);
    expect(await redis.exists(keys.holders('rec', '1', CLASS))).toBe(1);
  });
});
