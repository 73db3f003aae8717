import { createHash } from 'node:crypto';
import { newId } from '@warmlane/contracts';
import { createRedis, IdempotencyStore } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { useApi } from './api.fixture.js';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE, ECHOES } from './fake-models.fixture.js';
import { floats, send, takeApart, tritonRequest } from './protocol-client.fixture.js';

const READY_SHAPE = 'x:float32[1,2]';
const fixture = useApi(async (worker) => {
  await worker.serve(DOUBLE, [{ shapeKey: READY_SHAPE, replicas: 1, priority: 5, required: true }]);
  for (const echo of ECHOES) await worker.serve(echo);
  await worker.warm('double', '1', READY_SHAPE);
});
const infer = (model: string) => `${fixture.api.url}/v2/models/${model}/infer`;
const one = { name: 'x', datatype: 'FP32', shape: [1, 2] };

describe('idempotency-key', () => {
  const keyed = (key: string, ...values: number[]) => {
    const request = tritonRequest([{ ...one, data: floats(...values) }], { id: '1' });
    return send(infer('double'), { ...request, headers: { ...request.headers, 'idempotency-key': key } });
  };

  it('gives the same body the same answer from one run, and refuses another body', async () => {
    const before = fixture.worker.jobs.length;
    const answers = await Promise.all([keyed('k1', 3, 4), keyed('k1', 3, 4), keyed('k1', 3, 4)]);
    answers.push(await keyed('k1', 3, 4));
    for (const answer of answers) expect(takeApart(answer).outputs.get('y')).toEqual(floats(6, 8));
    expect(fixture.worker.jobs.length - before).toBe(1);
    const other = await keyed('k1', 5, 6);
    expect(other.status).toBe(409);
    expect(other.headers['warmlane-error']).toBe('conflict');
    expect(takeApart(await keyed('k2', 5, 6)).outputs.get('y')).toEqual(floats(10, 12));
  });

  it('keeps large answers as well', async () => {
    const data = Buffer.alloc(400_000, 7);
    const request = tritonRequest([{ name: 'x', datatype: 'UINT8', shape: [data.byteLength], data }]);
    const big = () =>
      send(infer('echo-uint8'), { ...request, headers: { ...request.headers, 'idempotency-key': 'big' } });
    for (const answer of [await big(), await big()])
      expect(takeApart(answer).outputs.get('y')?.equals(data)).toBe(true);
  });

  it('lets go of the key when the request is refused', async () => {
    const request = tritonRequest([{ ...one, shape: [1, 3], data: floats(1, 2, 3) }]);
    const refused = () =>
      send(infer('double'), { ...request, headers: { ...request.headers, 'idempotency-key': 'bad' } });
    expect((await refused()).status).toBe(400);
    expect((await refused()).status).toBe(400);
    expect((await keyed('bad', 1, 2)).status).toBe(200);
  });

  it('holds it between API processes', async () => {
    await using other = await ApiProcess.start({ WARMLANE_REDIS: fixture.redis.url });
    const request = tritonRequest([{ ...one, data: floats(8, 9) }]);
    const headers = { ...request.headers, 'idempotency-key': 'shared' };
    const before = fixture.worker.jobs.length;
    const urls = [fixture.api.url, other.url, fixture.api.url, other.url];
    const answers = await Promise.all(
      urls.map((url) => send(`${url}/v2/models/double/infer`, { ...request, headers })),
    );
    for (const answer of answers) expect(takeApart(answer).outputs.get('y')).toEqual(floats(16, 18));
    expect(fixture.worker.jobs.length - before).toBe(1);
  });

  it('answers though the API process that took the key died before it added the job', async () => {
    const request = tritonRequest([{ ...one, data: floats(6, 7) }]);
    const redis = createRedis(fixture.redis.url, { name: 'test' });
    const bodySha256 = createHash('sha256')
      .update(request.body ?? '')
      .digest('hex');
    const scope = { apiKey: '', model: 'double', version: '', key: 'orphan' };
    await new IdempotencyStore(redis).claim(scope, bodySha256, `${newId()}/1`, 60_000);
    redis.disconnect();
    const before = fixture.worker.jobs.length;
    const headers = { ...request.headers, 'idempotency-key': 'orphan' };
    for (let n = 0; n < 2; n += 1) {
      const answer = await send(infer('double'), { ...request, headers });
      expect(takeApart(answer).outputs.get('y')).toEqual(floats(12, 14));
    }
    expect(fixture.worker.jobs.length - before).toBe(1);
  });

  it('frees the key of a request that was refused because Redis stood still', async () => {
    fixture.redis.pause();
    const refused = await keyed('frozen', 1, 1);
    expect(refused.headers['warmlane-error']).toBe('redis-away');
    fixture.redis.resume();
    // The key was taken when Redis went on: another body must not find it.
    await vi.waitFor(
      async () => expect(takeApart(await keyed('frozen', 2, 3)).outputs.get('y')).toEqual(floats(4, 6)),
      {
        timeout: 10_000,
        interval: 50,
      },
    );
  });
});
