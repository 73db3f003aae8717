import { startRedis } from '@warmlane/testing';
import { type Job, Queue } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE } from './fake-models.fixture.js';
import { FakeWorker } from './fake-worker.fixture.js';
import { floats, json, type RawAnswer, send, tritonRequest } from './protocol-client.fixture.js';

/** Over before the load is. */
const SHORT = { deadlineMs: 900 };

/** What a job comes to: its result, or the body of its error. */
function outcomeOf(queue: Queue, { id = '' }: Job): Promise<unknown> {
  return vi.waitFor(
    async () => {
      const job: Job<unknown, unknown> | undefined = await queue.getJob(id);
      if (job?.finishedOn === undefined) throw new Error(`job ${id} is under way`);
      return job.returnvalue ?? (JSON.parse(job.failedReason) as unknown);
    },
    { timeout: 20_000, interval: 50 },
  );
}

describe('a name that nobody has registered', () => {
  let redis: Awaited<ReturnType<typeof startRedis>>;
  let worker: FakeWorker;
  let api: ApiProcess;

  beforeEach(async () => {
    redis = await startRedis();
    worker = await FakeWorker.start(redis.url, 'starting');
    api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
  });

  afterEach(async () => {
    await api.stop('SIGKILL');
    await worker[Symbol.asyncDispose]();
    await redis.stop();
  });

  const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] }] };
  const ways: Record<string, (model: string) => Promise<RawAnswer>> = {
    json: (model) => send(`${api.url}/v2/models/${model}/infer`, { body: JSON.stringify(body) }),
    binary: (model) =>
      send(
        `${api.url}/v2/models/${model}/infer`,
        tritonRequest([{ name: 'x', datatype: 'FP32', shape: [1, 2], data: floats(1, 2) }]),
      ),
    metadata: (model) => send(`${api.url}/v2/models/${model}`),
    ready: (model) => send(`${api.url}/v2/models/${model}/ready`),
  };
  const statuses = async (model: string): Promise<number[]> =>
    Promise.all(Object.values(ways).map(async (way) => (await way(model)).status));

  it('is not known to be unknown before a worker has loaded its repository', async () => {
    for (const way of Object.values(ways)) {
      const answer = await way('double');
      expect([answer.status, answer.headers['warmlane-error'], answer.headers['retry-after']]).toEqual([
        503,
        'not-ready',
        '1',
      ]);
      expect(json<{ error: string }>(answer).error).toMatch(/^the model repository is still being loaded/);
    }
    await worker.serve(DOUBLE);
    expect(await statuses('nobody')).toEqual([404, 404, 404, 404]);
    expect(json((await ways.json?.('double')) as RawAnswer)).toMatchObject({ outputs: [{ data: [2, 4] }] });
  });

  it('stays unknown once that was so, whatever becomes of the workers', async () => {
    await worker.say('serving');
    expect(await statuses('double')).toEqual([404, 404, 404, 404]);
    await worker.say('starting');
    expect(await statuses('double')).toEqual([404, 404, 404, 404]);
  });

  it('does not believe the document of a worker that was killed', async () => {
    await worker.say('serving');
    // Its successor beats in the next epoch and has not said anything yet.
    worker.epoch = await worker.workers.nextEpoch('fake-0', worker.epoch);
    await worker.workers.heartbeat('fake-0', worker.epoch);
    // This one has not seen the worker's former life.
    await api.stop('SIGKILL');
    api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    expect(await statuses('double')).toEqual([503, 503, 503, 503]);
  });

  it('keeps jobs of the entry queues waiting for that load: they are served then, or fail', async () => {
    const connection = { host: '127.0.0.1', port: redis.port };
    const queues = ['inference', 'warmup'].map((name) => new Queue(name, { connection, prefix: '{wl}' }));
    const [inference, warmup] = queues as [Queue, Queue];
    try {
      const x = { name: 'x', datatype: 'FP32', shape: [1, 2], base64: floats(1, 2).toString('base64') };
      const infer = (model: string, more: object = {}) => inference.add('infer', { v: 1, model, inputs: [x], ...more });
      const [known, unknown, short] = [await infer('double'), await infer('nobody'), await infer('double', SHORT)];
      const warm = await warmup.add('warm', { v: 1, model: 'nobody', version: '1', shapes: ['x:float32[1,2]'] });
      expect(await outcomeOf(inference, short)).toMatchObject({
        code: 'not-ready',
        message: expect.stringContaining('is still being loaded'),
      });
      expect(await inference.getJobCountByTypes('active')).toBe(2);
      expect(await warmup.getJobCountByTypes('active')).toBe(1);
      await worker.serve(DOUBLE);
      expect(await outcomeOf(inference, known)).toMatchObject({
        outputs: [{ name: 'y', base64: floats(2, 4).toString('base64') }],
      });
      for (const outcome of [await outcomeOf(inference, unknown), await outcomeOf(warmup, warm)]) {
        expect(outcome).toMatchObject({ code: 'unknown-model', retryable: false });
      }
    } finally {
      await Promise.all(queues.map((queue) => queue.close()));
    }
  });
});
