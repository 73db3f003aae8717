import {
  createQueue,
  createWorker,
  ENTRY_EVENTS_KEPT,
  ENTRY_SETTINGS,
  EVENTS_KEPT,
  SERVING_SETTINGS,
  WARMUP_SETTINGS,
  type WorkerSettings,
} from '@warmlane/queues';
import {
  classQueueName,
  coldQueueName,
  INFERENCE_QUEUE,
  PREFIX,
  WARM_MODEL_QUEUE,
  WARMUP_QUEUE,
  warmLaneQueueName,
} from '@warmlane/redis';
import { FlowProducer, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { useRedis } from './redis-client.fixture.js';

type Actor = 'queue' | 'flow' | 'bare queue' | 'worker';

const QUEUES: [string, WorkerSettings, number][] = [
  [INFERENCE_QUEUE, ENTRY_SETTINGS, ENTRY_EVENTS_KEPT],
  [WARMUP_QUEUE, ENTRY_SETTINGS, ENTRY_EVENTS_KEPT],
  [WARM_MODEL_QUEUE, WARMUP_SETTINGS, EVENTS_KEPT],
  [warmLaneQueueName('w-0'), WARMUP_SETTINGS, EVENTS_KEPT],
  [classQueueName('rec', '1', 'x:float32[b,4]'), SERVING_SETTINGS, EVENTS_KEPT],
  [coldQueueName('rec', '1'), SERVING_SETTINGS, EVENTS_KEPT],
];

/** A bare queue writes its own bound whenever it is made: it counts only where ours comes after it. */
const ORDERS: Actor[][] = [
  ['worker'],
  ['flow', 'worker'],
  ['worker', 'flow'],
  ['queue', 'worker'],
  ['worker', 'queue'],
  ['flow', 'queue', 'worker'],
  ['flow', 'worker', 'queue'],
  ['queue', 'flow', 'worker'],
  ['queue', 'worker', 'flow'],
  ['worker', 'flow', 'queue'],
  ['worker', 'queue', 'flow'],
  ['bare queue', 'worker', 'flow'],
  ['flow', 'bare queue', 'worker'],
];

describe('the events that a queue keeps', () => {
  const fixture = useRedis();
  const closing: { close(): Promise<unknown> }[] = [];

  afterEach(async () => {
    await Promise.all(closing.splice(0).map((one) => one.close()));
  });

  const keep = <T extends { close(): Promise<unknown> }>(one: T): T => {
    closing.push(one);
    return one;
  };

  async function act(actor: Actor, [name, settings, eventsKept]: (typeof QUEUES)[number], redis: Redis): Promise<void> {
    switch (actor) {
      case 'queue':
        await keep(createQueue(name, { redis, eventsKept })).add('one', {});
        return;
      case 'bare queue':
        await keep(new Queue(name, { connection: redis, prefix: PREFIX })).add('one', {});
        return;
      case 'flow':
        await keep(new FlowProducer({ connection: redis, prefix: PREFIX })).add({
          name: 'parent',
          queueName: 'parents',
          children: [{ name: 'child', queueName: name }],
        });
        return;
      case 'worker': {
        const options = { redis, settings, eventsKept, concurrency: 1, holder: 'w-0' };
        const worker = keep(createWorker(name, () => Promise.resolve(null), options));
        // Its first check for stalled jobs is what gives a queue without settings those of BullMQ.
        await vi.waitFor(async () => expect(await redis.exists(`${PREFIX}:${name}:stalled-check`)).toBe(1));
        await worker.waitUntilReady();
        return;
      }
    }
  }

  describe.each(QUEUES)('%s', (...queue) => {
    const [name, , eventsKept] = queue;

    it.each(ORDERS.map((order) => [order.join(', '), order] as const))('after %s', async (_order, order) => {
      const redis = fixture.connect();
      for (const actor of order) await act(actor, queue, redis);
      await vi.waitFor(async () => {
        expect(await fixture.redis.hget(`${PREFIX}:${name}:meta`, 'opts.maxLenEvents')).toBe(String(eventsKept));
      });
    });
  });

  it('is what they are cut to: a flow of 400 lanes on the queue of one worker', async () => {
    const name = warmLaneQueueName('w-0');
    const options = { redis: fixture.connect(), settings: WARMUP_SETTINGS, concurrency: 64, holder: 'w-0' };
    keep(createWorker(name, () => Promise.resolve(null), options));
    const children = Array.from({ length: 400 }, (_, n) => ({
      name: 'child',
      queueName: name,
      opts: { priority: 1 + (n % 9) },
    }));
    await keep(new FlowProducer({ connection: fixture.connect(), prefix: PREFIX })).add({
      name: 'parent',
      queueName: 'parents',
      children,
    });
    await vi.waitFor(async () => expect(await fixture.redis.zcard(`${PREFIX}:${name}:completed`)).toBe(400), 20_000);
    // BullMQ cuts by whole nodes of 100 entries, before it writes; uncut there are four of each job.
    expect(await fixture.redis.xlen(`${PREFIX}:${name}:events`)).toBeLessThanOrEqual(300);
  });

  it('is set again after a lost connection: Redis may have lost its memory', async () => {
    const redis = fixture.connect();
    const [queue] = QUEUES.filter(([name]) => name === warmLaneQueueName('w-0'));
    if (queue === undefined) throw new Error('no such queue');
    const meta = `${PREFIX}:${queue[0]}:meta`;
    await act('worker', queue, redis);
    await vi.waitFor(async () => expect(await fixture.redis.hget(meta, 'opts.maxLenEvents')).toBe('100'));
    await fixture.redis.del(meta);
    await fixture.redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await vi.waitFor(async () => expect(await fixture.redis.hget(meta, 'opts.maxLenEvents')).toBe('100'), 5_000);
  });
});
