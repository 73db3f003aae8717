import { PREFIX } from '@warmlane/redis';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';

/** What BullMQ alone costs: a worker that does nothing, with the library's own settings but the concurrency. */
const [url = '', queue = '', concurrency = '1'] = process.argv.slice(2);
const redis = new Redis(url, { maxRetriesPerRequest: null });
const worker = new Worker(queue, () => Promise.resolve(null), {
  connection: redis,
  prefix: PREFIX,
  concurrency: Number(concurrency),
  // `waitUntilFinished` needs the job when it is done.
  removeOnComplete: { count: 1_000 },
});
worker.on('error', (error) => process.stderr.write(`${error.message}\n`));
process.on('disconnect', () => process.exit(0));
await worker.waitUntilReady();
process.send?.('ready');
