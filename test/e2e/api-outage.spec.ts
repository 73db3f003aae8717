import { Socket } from 'node:net';
import { startRedis } from '@warmlane/testing';
import { describe, expect, it } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE } from './fake-models.fixture.js';
import { FakeWorker } from './fake-worker.fixture.js';
import { floats, json, send, tritonRequest } from './protocol-client.fixture.js';

const request = tritonRequest([{ name: 'x', datatype: 'FP32', shape: [1, 2], data: floats(1, 2) }]);

describe('Redis away', () => {
  it('answers 503 redis-away while it is away, and recovers by itself', async () => {
    await using redis = await startRedis({ persistence: 'aof' });
    await using worker = await FakeWorker.start(redis.url);
    await worker.serve(DOUBLE);
    await using api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    const infer = () => send(`${api.url}/v2/models/double/infer`, request);
    expect((await infer()).status).toBe(200);

    await redis.kill();
    await expect.poll(async () => (await infer()).headers['warmlane-error']).toBe('redis-away');
    const away = await infer();
    expect(away.status).toBe(503);
    expect(away.headers['retry-after']).toBe('1');
    const rest = await send(`${api.url}/v1/models`);
    expect(rest.status).toBe(503);
    expect(json(rest)).toMatchObject({ error: { code: 'redis-away', retryable: true } });
    const ready = await send(`${api.url}/health/ready`);
    expect(ready.status).toBe(503);
    expect(String(json(ready).reasons)).toContain('redis-away');
    expect((await send(`${api.url}/health/live`)).status).toBe(200);

    await redis.restart();
    await expect.poll(async () => (await infer()).status, { timeout: 20_000 }).toBe(200);
    const outages = api.lines.filter(
      (line) => line.msg.startsWith('Redis is away') && line.connection === 'warmlane-api',
    );
    expect(outages).toHaveLength(1);
  });

  it('starts without Redis and serves when it comes', async () => {
    await using redis = await startRedis();
    await redis.kill();
    await using api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    expect((await send(`${api.url}/health/live`)).status).toBe(200);
    expect((await send(`${api.url}/v2/models/double/infer`, request)).headers['warmlane-error']).toBe('redis-away');
    await redis.restart();
    await using worker = await FakeWorker.start(redis.url);
    await worker.serve(DOUBLE);
    await expect
      .poll(async () => (await send(`${api.url}/v2/models/double/infer`, request)).status, { timeout: 20_000 })
      .toBe(200);
  });

  it('answers within seconds when Redis stands still', async () => {
    await using redis = await startRedis();
    await using api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    redis.pause();
    const answer = await send(`${api.url}/v1/models`);
    expect(answer.headers['warmlane-error']).toBe('redis-away');
    redis.resume();
    await expect.poll(async () => (await send(`${api.url}/v1/models`)).status, { timeout: 20_000 }).toBe(200);
  });
});

describe('stopping', () => {
  const LIMIT_MS = 8_000;

  it('exits 0 on SIGTERM, after it answered what was in flight', async () => {
    await using redis = await startRedis();
    await using worker = await FakeWorker.start(redis.url);
    let release: () => void = () => undefined;
    let begun: () => void = () => undefined;
    const computing = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    await worker.serve({
      ...DOUBLE,
      compute: async (inputs, job) => {
        begun();
        await released;
        return DOUBLE.compute(inputs, job);
      },
    });
    await using api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    const answer = send(`${api.url}/v2/models/double/infer`, request);
    await computing;
    const exit = api.stop('SIGTERM');
    await expect
      .poll(() =>
        send(`${api.url}/health/live`).then(
          () => 'open',
          () => 'closed',
        ),
      )
      .toBe('closed');
    release();
    expect((await answer).status).toBe(200);
    expect((await exit).code).toBe(0);
  });

  it('answers within its deadline what runs long at SIGTERM, not ready meanwhile', async () => {
    await using redis = await startRedis();
    await using worker = await FakeWorker.start(redis.url);
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    await worker.serve({
      ...DOUBLE,
      compute: async (inputs, job) => {
        await released;
        return DOUBLE.compute(inputs, job);
      },
    });
    await using api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    const answer = send(`${api.url}/v2/models/double/infer`, request);
    await expect.poll(() => worker.jobs.length, { timeout: 20_000 }).toBe(1);
    const startedAt = performance.now();
    // As of a load balancer that had just begun to ask.
    const held = new Socket();
    const told = new Promise<string>((resolve) => {
      held.once('data', (bytes) => resolve(String(bytes)));
    });
    await new Promise<void>((resolve) => held.connect(Number(new URL(api.url).port), '127.0.0.1', resolve));
    held.write('GET /health/ready HTTP/1.1\r\nhost: a\r\n');
    const exit = api.stop('SIGTERM');
    await expect
      .poll(
        () =>
          send(`${api.url}/health/live`).then(
            () => 'open',
            () => 'closed',
          ),
        { timeout: 20_000 },
      )
      .toBe('closed');
    held.write('\r\n');
    expect(await told).toMatch(/^HTTP\/1\.1 503 .*connection: close.*this API is stopping/is);
    // Longer than the 2 s after which it was cut off before.
    await expect.poll(() => performance.now() - startedAt, { timeout: 20_000, interval: 100 }).toBeGreaterThan(3_500);
    release();
    expect((await answer).status).toBe(200);
    expect((await exit).code).toBe(0);
    held.destroy();
  });

  it('exits 0 within seconds with Redis gone', async () => {
    await using redis = await startRedis();
    await using worker = await FakeWorker.start(redis.url);
    await worker.serve({ ...DOUBLE, compute: () => new Promise(() => undefined) });
    await using api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    const hanging = send(`${api.url}/v2/models/double/infer`, request).catch((error: unknown) => error);
    await expect.poll(() => worker.jobs.length).toBe(1);
    await redis.kill();
    const startedAt = performance.now();
    const exit = await api.stop('SIGTERM');
    expect(exit.code).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(LIMIT_MS);
    await hanging;
  });

  it('stops when its parent is gone', async () => {
    await using redis = await startRedis();
    await using api = await ApiProcess.start({ WARMLANE_REDIS: redis.url, WARMLANE_LIFELINE_FD: '3' });
    api.cutLifeline();
    expect((await api.ended()).code).toBe(0);
  });

  it('carries its role in the process title', async () => {
    await using redis = await startRedis();
    await using api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    const { readFile } = await import('node:fs/promises');
    expect(await readFile(`/proc/${api.pid}/cmdline`, 'utf8')).toContain('warmlane api');
  });
});
