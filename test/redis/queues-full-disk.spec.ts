import { mkdir, rm } from 'node:fs/promises';
import { createQueue, createWorker, Patience, SERVING_SETTINGS } from '@warmlane/queues';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis();
const waiting = { timeout: 20_000, interval: 20 };

/** Redis refuses every write from now on, as with a full disk: it has a dump to write and no folder for it. */
async function refuseWrites(): Promise<void> {
  const { redis, server } = fixture;
  await redis.config('SET', 'save', '3600 1');
  await rm(server.dir, { recursive: true });
  await redis.bgsave().catch(() => undefined);
  await vi.waitFor(
    async () => expect(await redis.info('persistence')).toContain('rdb_last_bgsave_status:err'),
    waiting,
  );
}

afterEach(async () => {
  await fixture.redis.config('SET', 'stop-writes-on-bgsave-error', 'no');
  await mkdir(fixture.server.dir, { recursive: true });
});

describe('a Redis that cannot write to its disk', () => {
  it('is asked again at a walking pace, told of once, redis-away for whoever waits over HTTP, and served from when it can', async () => {
    const { redis } = fixture;
    const failedAt: number[] = [];
    const told: string[] = [];
    const done: unknown[] = [];
    const worker = createWorker<{ n: number }, undefined>(
      'full-disk',
      async (job) => {
        done.push(job.data.n);
        return undefined;
      },
      {
        redis,
        settings: SERVING_SETTINGS,
        concurrency: 4,
        holder: 'w-0',
        autorun: false,
        onError: (_queue, error) => told.push(error.message),
      },
    );
    worker.on('error', () => failedAt.push(performance.now()));
    const queue = createQueue<{ n: number }>('full-disk', { redis });
    await refuseWrites();
    worker.run().catch(() => undefined);
    await vi.waitFor(() => expect(failedAt.length).toBeGreaterThanOrEqual(6), waiting);
    // The check for stalled jobs fails beside the fetches; unpaced all of it takes a few ms.
    expect((failedAt.at(-1) ?? 0) - (failedAt[0] ?? 0)).toBeGreaterThan(1_500);
    expect(told).toHaveLength(new Set(told).size);
    expect(told[0]).toContain('MISCONF');
    await expect(new Patience(redis).within(redis.set('a', 'b'))).rejects.toMatchObject({
      code: 'redis-away',
      message: expect.stringMatching(/^Redis refuses the command: MISCONF /),
    });

    await redis.config('SET', 'stop-writes-on-bgsave-error', 'no');
    await queue.add('n', { n: 7 });
    await vi.waitFor(() => expect(done).toEqual([7]), waiting);
    await worker.close();
    await queue.close();
  });
});
