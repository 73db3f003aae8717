import { IdempotencyStore, keys, StatsStore } from '@warmlane/redis';
import { describe, expect, it } from 'vitest';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis();

describe('IdempotencyStore', () => {
  const store = (): IdempotencyStore => new IdempotencyStore(fixture.redis);
  const scope = { apiKey: 'k', model: 'rec', version: '1', key: 'order-7' };

  it('one of 20 concurrent requests runs; the others join it', async () => {
    const claims = await Promise.all(
      Array.from({ length: 20 }, (_, n) => store().claim(scope, 'body', `request-${n}`, 90_000)),
    );
    const first = claims.findIndex(({ kind }) => kind === 'new');
    claims.forEach((claim, n) => {
      if (n !== first) expect(claim).toEqual({ kind: 'same', request: `request-${first}` });
    });
  });

  it('refuses another body, and knows scopes apart', async () => {
    await store().claim(scope, 'body', 'r1', 90_000);
    expect(await store().claim(scope, 'other', 'r2', 90_000)).toEqual({ kind: 'conflict' });
    for (const other of [{ apiKey: 'z' }, { model: 'det' }, { version: '' }, { key: 'order-8' }]) {
      expect(await store().claim({ ...scope, ...other }, 'other', 'r2', 90_000)).toEqual({ kind: 'new' });
    }
  });

  it('is kept 60 s after the answer, and let go of by its own request only', async () => {
    await store().claim(scope, 'body', 'r1', 3_600_000);
    expect(await store().settle(scope, 'body', 'r2')).toBe(false);
    expect(await store().settle(scope, 'body', 'r1')).toBe(true);
    const [key = ''] = await fixture.redis.keys('*');
    expect(await fixture.redis.pttl(key)).toBeLessThanOrEqual(60_000);
    expect(await store().release(scope, 'body', 'r2')).toBe(false);
    expect(await store().release(scope, 'body', 'r1')).toBe(true);
    expect(await store().claim(scope, 'other', 'r2', 90_000)).toEqual({ kind: 'new' });
  });
});

describe('StatsStore', () => {
  const sample = {
    ok: true,
    items: 1,
    totalNs: 100,
    queueNs: 10,
    computeInputNs: 1,
    computeInferNs: 80,
    computeOutputNs: 2,
  };

  it('sums over processes, and costs no command per request', async () => {
    const one = new StatsStore(fixture.redis);
    const two = new StatsStore(fixture.redis);
    for (let n = 0; n < 10; n += 1) one.request('rec', '1', sample);
    one.request('rec', '1', { ...sample, ok: false, totalNs: 7.4 });
    two.request('rec', '1', { ...sample, items: 4 });
    two.execution('rec', '1', { batchSize: 8, computeInputNs: 1, computeInferNs: 70, computeOutputNs: 1 });
    two.execution('rec', '1', { batchSize: 1, computeInputNs: 1, computeInferNs: 20, computeOutputNs: 1 });
    await Promise.all([one.close(), two.close()]);
    const stats = await one.get('rec', '1');
    expect(stats).toMatchObject({
      inferenceCount: 14,
      executionCount: 2,
      success: { count: 11, ns: 1_100 },
      fail: { count: 1, ns: 7 },
      queue: { count: 11, ns: 110 },
      computeInfer: { count: 11, ns: 880 },
    });
    expect(stats.batches.map(({ batchSize, computeInfer }) => [batchSize, computeInfer])).toEqual([
      [1, { count: 1, ns: 20 }],
      [8, { count: 1, ns: 70 }],
    ]);
    expect(stats.lastInference).toBeGreaterThan(0);
    expect(await fixture.redis.pttl(keys.stats('rec', '1'))).toBeGreaterThan(0);
  });

  it('is all zero for a model that nobody asked', async () => {
    const store = new StatsStore(fixture.redis);
    expect(await store.get('rec', '1')).toMatchObject({ inferenceCount: 0, success: { count: 0, ns: 0 }, batches: [] });
    await store.close();
  });
});
