import type { EntryInferResult } from '@warmlane/contracts';
import { createRedis } from '@warmlane/redis';
import { startRedis } from '@warmlane/testing';
import { Queue } from 'bullmq';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { startApiParts } from './api-parts.fixture.js';
import { MODEL, registerEcho, StandInWorker } from './stand-in-worker.fixture.js';

const closing: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const base64 = (values: readonly number[]): string => Buffer.from(new Float32Array(values).buffer).toString('base64');

describe('EntryDispatcher, Redis killed and restarted', () => {
  it('loses no job: all end with their own answer', async () => {
    const server = await startRedis({ persistence: 'aof', args: ['--appendfsync', 'always'] });
    closing.push(() => server.stop());
    const connect = (name: string) => {
      const redis = createRedis(server.url, { name });
      closing.push(() => redis.disconnect());
      return redis;
    };
    await registerEcho(connect('test'));
    const worker = await new StandInWorker(server.url, { concurrency: 4 }).start();
    closing.push(() => worker.stop());
    await worker.hold();
    const api = await startApiParts(connect);
    closing.push(api.close);
    const queue = new Queue('inference', { connection: connect('bare'), prefix: '{wl}' });
    queue.on('error', () => undefined);
    closing.push(() => queue.close());

    const jobs = await queue.addBulk(
      Array.from({ length: 400 }, (_, n) => ({
        name: 'infer',
        data: {
          v: 1,
          model: MODEL,
          deadlineMs: 40_000,
          inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], base64: base64([n, 1, 2, 3]) }],
        },
      })),
    );
    const completed = () => queue.getJobCountByTypes('completed');
    await vi.waitFor(async () => expect(await completed()).toBeGreaterThan(50), { timeout: 10_000 });
    await server.kill();
    await server.restart();
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('completed', 'failed')).toBe(400), {
      timeout: 45_000,
      interval: 200,
    });
    expect(await completed()).toBe(400);
    for (const [n, job] of jobs.entries()) {
      const done = await queue.getJob(job.id ?? '');
      const result = done?.returnvalue as EntryInferResult | undefined;
      expect(result?.outputs[0]).toMatchObject({ base64: base64([n, 1, 2, 3]) });
    }
  }, 90_000);
});
