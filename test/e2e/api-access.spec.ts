import { createHash } from 'node:crypto';
import { startRedis } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE } from './fake-models.fixture.js';
import { FakeWorker } from './fake-worker.fixture.js';
import { floats, json, type RawRequest, send, tritonRequest } from './protocol-client.fixture.js';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const KEYS = `app:infer:${sha256('app-key')},ops:admin:${sha256('ops-key')}`;

let redis: Awaited<ReturnType<typeof startRedis>>;
let worker: FakeWorker;
let api: ApiProcess;

beforeAll(async () => {
  redis = await startRedis();
  worker = await FakeWorker.start(redis.url);
  await worker.serve(DOUBLE);
  // Every address of the machine, which needs keys; the test comes over loopback all the same.
  api = await ApiProcess.start({ WARMLANE_REDIS: redis.url, WARMLANE_HTTP: '0.0.0.0:0', WARMLANE_API_KEYS: KEYS });
});
afterAll(async () => {
  await api?.stop('SIGKILL');
  await worker?.[Symbol.asyncDispose]();
  await redis?.stop();
});

const port = () => new URL(api.url).port;
async function call(path: string, key: string | null, request: RawRequest = {}) {
  const authorization: Record<string, string> = key === null ? {} : { authorization: `Bearer ${key}` };
  return send(`http://127.0.0.1:${port()}${path}`, { ...request, headers: { ...request.headers, ...authorization } });
}

describe('API keys', () => {
  it('refuses to start where others could reach it without one, and says what to do', async () => {
    const exit = await ApiProcess.spawn({ WARMLANE_REDIS: redis.url, WARMLANE_HTTP: '0.0.0.0:0' }).ended();
    expect(exit.code).toBe(78);
    expect(exit.stderr).toMatch(/no API keys\. Set WARMLANE_API_KEYS/);
  });

  it.each(['/health/live', '/health/ready', '/v2/health/live', '/v2/health/ready'])('%s is open', async (path) => {
    expect([200, 503]).toContain((await call(path, null)).status);
  });

  it.each(['/v2', '/v2/models/double', '/v1/models', '/metrics', '/docs', '/nothing'])('%s is not', async (path) => {
    const answer = await call(path, null);
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
    expect(answer.headers['warmlane-error']).toBe('unauthorized');
    expect((await call(path, 'wrong-key')).status).toBe(401);
  });

  it('lets the role infer read and infer, and nothing else', async () => {
    const request = tritonRequest([{ name: 'x', datatype: 'FP32', shape: [1, 2], data: floats(1, 2) }]);
    expect((await call('/v2/models/double', 'app-key')).status).toBe(200);
    expect((await call('/v2/models/double/infer', 'app-key', request)).status).toBe(200);
    expect((await call('/v2/repository/index', 'app-key', { method: 'POST' })).status).toBe(200);
    for (const [method, path] of [
      ['POST', '/v2/repository/models/double/unload'],
      ['GET', '/v1/models'],
      ['GET', '/metrics'],
    ] as const) {
      const answer = await call(path, 'app-key', { method });
      expect(answer.status, path).toBe(403);
      expect(answer.headers['warmlane-error']).toBe('forbidden');
    }
    expect(json(await call('/v1/models', 'app-key'))).toMatchObject({ error: { code: 'forbidden', retryable: false } });
  });

  it('lets the role admin do all', async () => {
    for (const path of ['/v2/models/double', '/v1/models', '/v1/lanes', '/v1/workers', '/metrics']) {
      expect((await call(path, 'ops-key')).status, path).toBe(200);
    }
  });

  it('refuses a stranger before his body is read', async () => {
    const answer = await call('/v2/models/double/infer', null, {
      method: 'POST',
      headers: { 'content-length': 60_000_000 },
    });
    expect(answer.status).toBe(401);
  });
});
