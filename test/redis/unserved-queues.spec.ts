import { createQueue, UnservedQueues } from '@warmlane/queues';
import { classQueueName, coldQueueName, keys, PREFIX, WorkerStore } from '@warmlane/redis';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { workerDoc } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';
import { MODEL, registerEcho, SHAPE, StandInWorker } from './stand-in-worker.fixture.js';

describe('UnservedQueues', () => {
  const fixture = useRedis();
  const closing: (() => unknown)[] = [];

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  const queuesOf = async (version: string): Promise<string[]> => {
    const found = await fixture.redis.keys(`${PREFIX}:*`);
    const names = [coldQueueName(MODEL, version), classQueueName(MODEL, version, SHAPE)];
    return found.filter((key) => names.some((name) => key.startsWith(`${PREFIX}:${name}:`))).sort();
  };

  /** What a worker leaves that held a class of the version and consumed its cold queue, and let both go in order. */
  async function serveFor(version: string): Promise<void> {
    await registerEcho(fixture.redis, version);
    const worker = await new StandInWorker(fixture.server.url, { id: `w-${version}` }).start();
    const lane = await worker.hold(SHAPE, version);
    await worker.serveCold(version);
    await fixture.redis.srem(keys.holders(MODEL, version, SHAPE), `${worker.id}:${worker.epoch}:${lane.id}`);
    await worker.stop();
    await new WorkerStore(fixture.redis).remove(worker.id);
  }

  it('forgets those of a version that no worker has, once they are empty, and leaves the others', async () => {
    for (const version of ['1', '2', '3']) await serveFor(version);
    const store = new WorkerStore(fixture.redis);
    await store.put(workerDoc({ id: 'w-0', epoch: await store.nextEpoch('w-0'), models: [`${MODEL}/2`] }));
    const queue = createQueue(coldQueueName(MODEL, '3'), { redis: fixture.redis });
    closing.push(() => queue.close());
    const job = await queue.add('infer', {});
    const served = await queuesOf('2');
    expect(await queuesOf('1')).not.toEqual([]);

    const looking = [1, 2].map(() => new UnservedQueues({ redis: fixture.connect(), everyMs: 20, failedKeptMs: 0 }));
    for (const one of looking) {
      one.start();
      closing.push(() => one.close());
    }
    await vi.waitFor(async () => expect(await queuesOf('1')).toEqual([]), { timeout: 10_000 });
    expect(await fixture.redis.smembers(keys.classes(MODEL, '1'))).toEqual([]);
    await vi.waitFor(async () => expect(await fixture.redis.exists(keys.classes(MODEL, '3'))).toBe(0));
    expect(await queue.getJob(job.id ?? '')).toBeDefined();
    await job.remove();
    await vi.waitFor(async () => expect(await queuesOf('3')).toEqual([]), { timeout: 10_000 });

    // But for the mark of a check, which passes.
    expect(await queuesOf('2')).toEqual(
      expect.arrayContaining(served.filter((key) => !key.endsWith(':stalled-check'))),
    );
    expect(await fixture.redis.smembers(keys.classes(MODEL, '2'))).toEqual([SHAPE]);
  });
});
