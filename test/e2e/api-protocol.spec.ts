import { modelConfigSchema } from '@warmlane/contracts';
import { startRedis } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE, ECHOES } from './fake-models.fixture.js';
import { FakeWorker } from './fake-worker.fixture.js';
import { floats, json, type RawRequest, send, takeApart, tritonRequest } from './protocol-client.fixture.js';
import { violations } from './protocol-schemas.fixture.js';

let redis: Awaited<ReturnType<typeof startRedis>>;
let worker: FakeWorker;
let api: ApiProcess;
const SHAPE = 'x:float32[1,2]';
const declared = (shapeKey: string) => ({ shapeKey, replicas: 1, priority: 5, required: true });

beforeAll(async () => {
  redis = await startRedis();
  api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
});
afterAll(async () => {
  await api?.stop('SIGKILL');
  await worker?.[Symbol.asyncDispose]();
  await redis?.stop();
});

const call = (path: string, request?: RawRequest) => send(`${api.url}${path}`, request);
const status = async (path: string) => (await call(path)).status;

describe('readiness, in the order of a start', () => {
  it('is live at once, and not ready without a worker', async () => {
    expect(await status('/health/live')).toBe(200);
    expect(json(await call('/v2/health/live'))).toEqual({ live: true });
    const rest = await call('/health/ready');
    expect(rest.status).toBe(503);
    expect(json(rest)).toMatchObject({
      ready: false,
      reasons: ['no worker serves yet'],
      error: { code: 'not-ready', retryable: true },
    });
    const protocol = await call('/v2/health/ready');
    expect(protocol.status).toBe(503);
    expect(protocol.headers['retry-after'] ?? '1').toBe('1');
    expect(violations('error', json(protocol))).toBe('');
  });

  it('names the required shape that is not READY, and a FAILED one with its reason', async () => {
    worker = await FakeWorker.start(redis.url);
    await worker.serve(DOUBLE, [declared(SHAPE), declared('x:float32[2,2]')]);
    await worker.warm('double', '1', SHAPE);
    const failed = worker.lane('double', '1', 'x:float32[2,2]', 'FAILED', 'the graph refuses it');
    await worker.lanes.put(failed);
    await expect
      .poll(async () => json(await call('/health/ready')).reasons)
      .toEqual(['double/1 x:float32[2,2]: FAILED: the graph refuses it']);
    expect(await status('/v2/models/double/ready')).toBe(503);
    await worker.lanes.remove(failed.id);
  });

  it('is ready once every required shape is, and the model with it', async () => {
    await worker.warm('double', '1', 'x:float32[2,2]');
    await expect.poll(() => status('/health/ready')).toBe(200);
    expect(json(await call('/v2/health/ready'))).toEqual({ ready: true, live: true });
    const model = await call('/v2/models/double/ready');
    expect(violations('ready', json(model))).toBe('');
    expect(await status('/v2/models/double/versions/1/ready')).toBe(200);
  });

  it('stays ready when a shape goes cold; the model does not', async () => {
    await worker.plans.setDeclared('double', '1', [declared(SHAPE), declared('x:float32[7,2]')]);
    await expect.poll(() => status('/v2/models/double/ready')).toBe(503);
    expect(json(await call('/v2/models/double/ready'))).toMatchObject({
      ready: false,
      reasons: ['double/1 x:float32[7,2]: no lane yet'],
    });
    expect(await status('/health/ready')).toBe(200);
    await worker.plans.setDeclared('double', '1', [declared(SHAPE)]);
    await expect.poll(() => status('/v2/models/double/ready')).toBe(200);
  });

  it('is not ready while nothing can answer', async () => {
    await worker.say('draining');
    await expect.poll(() => status('/health/ready')).toBe(503);
    await worker.say('degraded');
    await expect.poll(() => status('/health/ready')).toBe(200);
  });
});

describe('metadata and lists', () => {
  it.each(['/v2', '/v2/'])('%s is the server', async (path) => {
    const answer = await call(path);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(violations('server', json(answer))).toBe('');
    expect(json(answer)).toMatchObject({
      name: 'warmlane',
      extensions: expect.arrayContaining(['binary_tensor_data', 'statistics']) as unknown,
    });
  });

  it.each(['/v2/models/double', '/v2/models/double/versions/1', '/v2/models/double/'])(
    '%s is the model',
    async (path) => {
      const answer = await call(path);
      expect(answer.headers['content-type']).toBe('application/json');
      expect(violations('model', json(answer))).toBe('');
      expect(json(answer)).toEqual({
        name: 'double',
        versions: ['1'],
        platform: 'onnxruntime_onnx',
        inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }],
        outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 2] }],
      });
    },
  );

  it('has a configuration with the planned shapes', async () => {
    const answer = json(await call('/v2/models/double/config'));
    expect(violations('config', answer)).toBe('');
    expect(answer).toMatchObject({ max_batch_size: 0, parameters: { warm_plan: { string_value: SHAPE } } });
  });

  it('counts what it served, per version', async () => {
    for (const n of [1, 2, 3])
      await call(
        '/v2/models/double/infer',
        tritonRequest([{ name: 'x', datatype: 'FP32', shape: [1, 2], data: floats(n, n) }]),
      );
    const stats = async () =>
      json<{ model_stats: { inference_stats: Record<string, { count: number; ns: number }> }[] }>(
        await call('/v2/models/double/stats'),
      );
    await expect.poll(async () => (await stats()).model_stats[0]?.inference_stats.success?.count).toBe(3);
    const answer = await stats();
    expect(violations('statistics', answer)).toBe('');
    expect(answer.model_stats[0]).toMatchObject({
      name: 'double',
      version: '1',
      inference_count: 3,
      memory_usage: [{ type: 'CPU', id: 0, byte_size: 2_048 }],
      inference_stats: {
        fail: { count: 0 },
        queue: { count: 3, ns: 750_000 },
        compute_infer: { count: 3, ns: 1_500_000 },
      },
    });
    expect(violations('statistics', json(await call('/v2/models/stats')))).toBe('');
    expect(await status('/v2/models/double/versions/1/stats')).toBe(200);
  });

  it('lists the repository, whatever the content-type of the request', async () => {
    await worker.models.register({
      name: 'broken',
      version: '1',
      state: 'FAILED',
      reason: 'not a protobuf',
      digest: null,
      metadata: null,
      config: modelConfigSchema.parse({}),
    });
    const types: Record<string, string>[] = [{}, { 'content-type': 'application/x-www-form-urlencoded' }];
    for (const headers of types) {
      const answer = await call('/v2/repository/index', { method: 'POST', headers, body: '{}' });
      expect(answer.headers['content-type']).toBe('application/json');
      expect(violations('index', json(answer))).toBe('');
      expect(json(answer)).toEqual([
        { name: 'broken', version: '1', state: 'UNAVAILABLE', reason: 'not a protobuf' },
        { name: 'double', version: '1', state: 'READY', reason: '' },
      ]);
    }
    const ready = await call('/v2/repository/index', { method: 'POST', body: '{"ready":true}' });
    expect(json<unknown[]>(ready)).toHaveLength(1);
    expect((await call('/v2/repository/index', { method: 'POST' })).status).toBe(200);
    expect((await call('/v2/repository/index', { method: 'POST', body: '{' })).status).toBe(400);
  });

  it('answers a failed model with its reason', async () => {
    const answer = await call('/v2/models/broken/infer', tritonRequest([]));
    expect(answer.status).toBe(503);
    expect(json(answer).error).toContain('not a protobuf');
  });
});

describe('versions', () => {
  it('serves the highest version that was ready once; a path may name another', async () => {
    await worker.serve({ ...DOUBLE, version: '2' }, [declared(SHAPE)]);
    await worker.serve({ ...DOUBLE, version: '10' }, []);
    await worker.models.markReady('double', '2');
    const request = tritonRequest([{ name: 'x', datatype: 'FP32', shape: [1, 2], data: floats(1, 2) }]);
    await expect
      .poll(async () => takeApart(await call('/v2/models/double/infer', request)).head.model_version)
      .toBe('2');
    expect(takeApart(await call('/v2/models/double/versions/10/infer', request)).head.model_version).toBe('10');
    expect(json(await call('/v2/models/double')).versions).toEqual(['1', '2', '10']);
    await worker.models.markReady('double', '10');
    await expect
      .poll(async () => takeApart(await call('/v2/models/double/infer', request)).head.model_version)
      .toBe('10');
  });
});

describe('load and unload', () => {
  it('asks the workers and waits for what comes of it', async () => {
    const echo = ECHOES[0];
    if (echo === undefined) throw new Error('no echo model');
    await worker.serve(echo);
    const unloading = call(`/v2/repository/models/${echo.name}/unload`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: '{"parameters":{"unload_dependents":false}}',
    });
    await expect
      .poll(async () => (await worker.models.desired()).map((wish) => `${wish.name} ${wish.desired}`))
      .toEqual([`${echo.name} unload`]);
    await worker.models.setState(echo.name, '1', 'UNLOADED', '');
    const unloaded = await unloading;
    expect([unloaded.status, unloaded.body.byteLength]).toEqual([200, 0]);
    await expect
      .poll(() => call(`/v2/models/${echo.name}/infer`, tritonRequest([])).then((answer) => answer.status))
      .toBe(503);

    const loading = call(`/v2/repository/models/${echo.name}/load`, { method: 'POST' });
    await expect
      .poll(async () => (await worker.models.desired()).map((wish) => `${wish.name} ${wish.desired}`))
      .toEqual([`${echo.name} load`]);
    await worker.answerLoad(echo.name, 'found');
    await worker.models.setState(echo.name, '1', 'LOADED', '');
    await worker.answerLoad(echo.name, 'done');
    expect((await loading).status).toBe(200);
  });

  it('says why a model does not load', async () => {
    const loading = call('/v2/repository/models/broken/load', { method: 'POST', body: '{}' });
    await expect.poll(async () => (await worker.models.desired()).some((wish) => wish.name === 'broken')).toBe(true);
    await worker.models.setState('broken', '1', 'FAILED', 'still not a protobuf');
    await worker.answerLoad('broken', 'done');
    const answer = await loading;
    expect(answer.status).toBe(400);
    expect(json(answer).error).toMatch(/model 'broken' does not load: version 1: still not a protobuf/);
  });

  it.each([
    ['config', { config: '{}' }],
    ['file:1/model.onnx', { 'file:1/model.onnx': 'AAAA' }],
  ])('does not take %s over HTTP', async (name, parameters) => {
    const answer = await call('/v2/repository/models/double/load', {
      method: 'POST',
      body: JSON.stringify({ parameters }),
    });
    expect(answer.status).toBe(501);
    expect(json(answer).error).toContain(name);
  });

  it('is unknown as soon as every worker has looked in vain', async () => {
    const startedAt = performance.now();
    const loading = call('/v2/repository/models/nobody/load', { method: 'POST' });
    await expect.poll(async () => (await worker.models.desired()).some((wish) => wish.name === 'nobody')).toBe(true);
    await worker.answerLoad('nobody', 'none');
    const answer = await loading;
    expect([answer.status, answer.headers['warmlane-error']]).toEqual([404, 'unknown-model']);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  it('does not unload what nobody knows', async () => {
    expect((await call('/v2/repository/models/nobody/unload', { method: 'POST' })).status).toBe(404);
  });
});

describe('what the server does not have', () => {
  it.each([
    ['GET', '/v2/trace/setting'],
    ['POST', '/v2/models/double/trace/setting'],
    ['GET', '/v2/logging'],
    ['POST', '/v2/systemsharedmemory/region/r/register'],
    ['POST', '/v2/cudasharedmemory/region/r/register'],
  ])('%s %s is a 501', async (method, path) => {
    const answer = await call(path, { method });
    expect(answer.status).toBe(501);
    expect(answer.headers['warmlane-error']).toBe('not-supported');
    expect(violations('error', json(answer))).toBe('');
  });

  // Triton's clients look for regions, and clear what earlier runs may have left, before they send tensors in the body.
  it.each(['system', 'cuda'])('says that no region of %s shared memory is registered', async (kind) => {
    const status = await call(`/v2/${kind}sharedmemory/status`);
    expect([status.status, json(status)]).toEqual([200, []]);
    const region = await call(`/v2/${kind}sharedmemory/region/r%20a/status`);
    expect([region.status, region.headers['warmlane-error']]).toEqual([404, 'not-found']);
    expect(json(region).error).toContain(`Unable to find ${kind} shared memory region: 'r a'`);
    for (const path of ['unregister', 'region/r/unregister']) {
      const answer = await call(`/v2/${kind}sharedmemory/${path}`, { method: 'POST' });
      expect([answer.status, answer.body.byteLength]).toEqual([200, 0]);
    }
  });

  it.each(['/v2/nothing', '/v2/models/double/versions/one', '/v2/models/double/nothing'])(
    'GET %s is a 404',
    async (path) => {
      const answer = await call(path);
      expect(answer.status).toBe(404);
      expect(answer.headers['content-type']).toBe('application/json');
      expect(json(answer)).toEqual({ error: 'Not Found' });
    },
  );

  it.each([
    ['GET', '/v2/models/double/infer', 'POST'],
    ['DELETE', '/v2/models/double/versions/1/infer', 'POST'],
    ['GET', '/v2/repository/index', 'POST'],
    ['POST', '/v2/models/double/ready', 'GET, HEAD'],
  ])('%s %s is a 405', async (method, path, allow) => {
    const answer = await call(path, { method });
    expect(answer.status).toBe(405);
    expect(json(answer)).toEqual({ error: 'Method Not Allowed' });
    expect(answer.headers.allow).toBe(allow);
    expect(answer.headers['content-type']).toBe('application/json');
  });

  it('a malformed path is a 400 in the same form', async () => {
    const answer = await call('/v2/models/%zz');
    expect(answer.status).toBe(400);
    expect(violations('error', json(answer))).toBe('');
  });
});
