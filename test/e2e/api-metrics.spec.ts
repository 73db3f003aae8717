import { startRedis } from '@warmlane/testing';
import { Queue, QueueEvents } from 'bullmq';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE } from './fake-models.fixture.js';
import { FakeWorker, RECORD } from './fake-worker.fixture.js';
import { floats, json, send } from './protocol-client.fixture.js';

const SHAPE = 'x:float32[1,2]';
const OTHER = 'x:float32[1,4]';

describe('/metrics of the fleet', () => {
  let redis: Awaited<ReturnType<typeof startRedis>>;
  let worker: FakeWorker;
  let apis: ApiProcess[];

  beforeEach(async () => {
    redis = await startRedis();
    worker = await FakeWorker.start(redis.url);
    await worker.serve(DOUBLE);
    apis = [];
  });

  afterEach(async () => {
    await Promise.all(apis.map((api) => api.stop('SIGKILL')));
    await worker[Symbol.asyncDispose]();
    await redis.stop();
  });

  async function startApi(): Promise<ApiProcess> {
    const api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    apis.push(api);
    return api;
  }

  /** The series of a metric that are not 0, by the value of one label. */
  async function valuesOf(api: ApiProcess, metric: string, label: string): Promise<Record<string, number>> {
    const { status, body } = await send(`${api.url}/metrics`);
    expect(status).toBe(200);
    const lines = body
      .toString()
      .split('\n')
      .filter((line) => line.startsWith(`${metric}{`));
    const values = lines.map((line) => [
      new RegExp(`${label}="([^"]*)"`).exec(line)?.[1] ?? '',
      Number(line.slice(line.lastIndexOf(' '))),
    ]);
    return Object.fromEntries(values.filter(([, value]) => value !== 0)) as Record<string, number>;
  }
  const events = (api: ApiProcess) => valuesOf(api, 'warmlane_lane_events_total', 'event');
  const lanes = (api: ApiProcess) => valuesOf(api, 'warmlane_lanes', 'state');

  it('shows lanes and workers by state, and counts what lanes come to in every API process', async () => {
    const lane = await worker.warm('double', '1', SHAPE);
    const [first, second] = [await startApi(), await startApi()];
    expect(await lanes(first)).toEqual({ READY: 1 });
    expect(await valuesOf(first, 'warmlane_workers', 'state')).toEqual({ serving: 1 });
    expect((await send(`${first.url}/metrics`)).body.toString()).toMatch(
      /^warmlane_lanes\{model="double",version="1",state="FAILED",role="api"\} 0$/m,
    );
    // It was READY before they looked, and is written again as it is.
    await worker.lanes.ready(lane, SHAPE);
    await worker.lanes.ready({ ...lane, state: 'SUSPECT' }, SHAPE);
    await worker.lanes.ready(lane, SHAPE);
    const other = worker.lane('double', '1', OTHER, 'QUEUED');
    await worker.lanes.put(other);
    await worker.lanes.put({ ...other, state: 'CREATING' });
    await worker.lanes.put({ ...other, state: 'FAILED', reason: 'for a test' });
    for (const api of apis) {
      await expect.poll(() => events(api)).toEqual({ suspect: 1, ready: 1, failed: 1 });
      expect(await lanes(api)).toEqual({ READY: 1, FAILED: 1 });
    }
    await worker.lanes.leave({ ...lane, state: 'EVICTED', record: null }, SHAPE);
    await expect.poll(() => events(second)).toEqual({ suspect: 1, ready: 1, failed: 1, evicted: 1 });
    expect(await lanes(second)).toEqual({ EVICTED: 1, FAILED: 1 });
  });

  it('counts what came to a lane while its notices were missed, once', async () => {
    const lane = worker.lane('double', '1', SHAPE, 'VERIFYING');
    await worker.lanes.put(lane);
    const api = await startApi();
    expect(await lanes(api)).toEqual({ VERIFYING: 1 });
    await worker.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await worker.lanes.ready({ ...lane, state: 'READY', record: RECORD }, SHAPE);
    await expect.poll(() => events(api)).toEqual({ ready: 1 });
  });

  it('has no lanes and workers while Redis is away, and says that it is', async () => {
    await worker.warm('double', '1', SHAPE);
    const api = await startApi();
    expect(await lanes(api)).toEqual({ READY: 1 });
    await redis.stop();
    await expect
      .poll(async () => (await send(`${api.url}/metrics`)).body.toString())
      .toContain('warmlane_redis_up{role="api"} 0');
    expect(await lanes(api)).toEqual({});
    expect(await valuesOf(api, 'warmlane_workers', 'state')).toEqual({});
  });

  it('counts each inference once, whichever way it came, and the statistics say the same', async () => {
    const api = await ApiProcess.start({ WARMLANE_REDIS: redis.url, WARMLANE_BODY_LIMIT: '1KiB' });
    apis.push(api);
    await worker.warm('double', '1', SHAPE);
    const body = (shape: number[], data: number[]) => ({
      body: JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape, data }] }),
    });
    const queue = new Queue('inference', { connection: { host: '127.0.0.1', port: redis.port }, prefix: '{wl}' });
    const events = new QueueEvents('inference', {
      connection: { host: '127.0.0.1', port: redis.port },
      prefix: '{wl}',
    });
    await events.waitUntilReady();
    const ended = async (shape: number[], ...values: number[]): Promise<unknown> => {
      const x = { name: 'x', datatype: 'FP32', shape, base64: floats(...values).toString('base64') };
      const job = await queue.add('infer', { v: 1, model: 'double', inputs: [x] });
      return await job.waitUntilFinished(events, 20_000).catch((error: unknown) => error);
    };
    try {
      const infer = `${api.url}/v2/models/double/infer`;
      // Synchronous: one warm, one cold, one that does not fit, one that is too large to be looked at.
      expect((await send(infer, body([1, 2], [1, 2]))).headers['warmlane-lane']).toBe('ready');
      expect((await send(infer, body([2, 2], [1, 2, 3, 4]))).headers['warmlane-lane']).toBe('cold');
      expect((await send(infer, body([2], [1, 2]))).headers['warmlane-error']).toBe('bad-request');
      expect((await send(infer, { body: 'x'.repeat(2_000) })).headers['warmlane-error']).toBe('too-large');
      // Asynchronous: one warm, whose answer is fetched twice, and one refused.
      const later = `${api.url}/v1/models/double/versions/1/infer`;
      const { id } = json<{ id: string }>(await send(later, body([1, 2], [3, 4])));
      const result = () => send(`${api.url}/v1/inferences/${id}`);
      await expect.poll(async () => (await result()).headers['warmlane-lane']).toBe('ready');
      expect((await result()).status).toBe(200);
      expect((await send(later, body([2], [1, 2]))).headers['warmlane-error']).toBe('bad-request');
      // From the queue: one warm, one that does not fit.
      expect(await ended([1, 2], 5, 6)).toMatchObject({ lane: 'ready' });
      expect(await ended([2], 5, 6)).toMatchObject({ message: expect.stringContaining('bad-request') as unknown });

      await expect
        .poll(() => valuesOf(api, 'warmlane_requests_total', 'served'))
        .toEqual({ ready: 3, cold: 1, failed: 4 });
      expect(await valuesOf(api, 'warmlane_request_failures_total', 'code')).toEqual({
        'bad-request': 3,
        'too-large': 1,
      });
      const counts = async () => {
        const { model_stats } = json<{ model_stats: ModelStats[] }>(await send(`${api.url}/v2/models/double/stats`));
        const [stats] = model_stats;
        return [stats?.inference_count, stats?.inference_stats.success.count, stats?.inference_stats.fail.count];
      };
      await expect.poll(counts, { timeout: 5_000 }).toEqual([4, 4, 4]);
    } finally {
      await events.close();
      await queue.close();
    }
  });
});

interface ModelStats {
  inference_count: number;
  inference_stats: Record<'success' | 'fail', { count: number }>;
}
