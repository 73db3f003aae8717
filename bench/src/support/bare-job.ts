import { fork } from 'node:child_process';
import { once } from 'node:events';
import { PREFIX } from '@warmlane/redis';
import { Queue, QueueEvents } from 'bullmq';
import { Redis } from 'ioredis';

export interface BareJob {
  /** Adds a job that does nothing, and waits for its end. */
  send(): Promise<void>;
  close(): Promise<void>;
}

/** What BullMQ alone takes from one process to another and back, with so many jobs at once at most. */
export async function bareJob(url: string, concurrency: number): Promise<BareJob> {
  const queue = 'bare';
  const worker = fork(new URL('./bare-worker.js', import.meta.url), [url, queue, String(concurrency)]);
  await once(worker, 'message');
  const redis = new Redis(url, { maxRetriesPerRequest: null });
  const jobs = new Queue(queue, { connection: redis, prefix: PREFIX });
  const events = new QueueEvents(queue, { connection: redis, prefix: PREFIX });
  jobs.setMaxListeners(0);
  events.setMaxListeners(0);
  await events.waitUntilReady();
  return {
    async send() {
      const job = await jobs.add('noop', { x: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' });
      await job.waitUntilFinished(events);
    },
    async close() {
      await Promise.all([jobs.close(), events.close()]);
      redis.disconnect();
      worker.kill('SIGKILL');
    },
  };
}
