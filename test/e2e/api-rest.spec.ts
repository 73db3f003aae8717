import type { LaneDoc, ModelDoc, TuningCandidate, WorkerDoc } from '@warmlane/contracts';
import { TuningStore } from '@warmlane/redis';
import { startRedis } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE, ECHOES } from './fake-models.fixture.js';
import { FakeWorker, RECORD } from './fake-worker.fixture.js';
import { floats, json, type RawRequest, send, takeApart, tritonRequest } from './protocol-client.fixture.js';

let redis: Awaited<ReturnType<typeof startRedis>>;
let worker: FakeWorker;
let api: ApiProcess;
let lane: LaneDoc;
const SHAPE = 'x:float32[1,2]';
const OTHER = 'x:float32[2,2]';
const declared = (shapeKey: string) => ({ shapeKey, replicas: 1, priority: 5, required: true });

beforeAll(async () => {
  redis = await startRedis();
  worker = await FakeWorker.start(redis.url);
  await worker.serve(DOUBLE, [declared(SHAPE), declared(OTHER)]);
  for (const echo of ECHOES) await worker.serve(echo);
  lane = await worker.warm('double', '1', SHAPE);
  await worker.lanes.put(worker.lane('double', '1', OTHER, 'FAILED', 'the graph refuses it'));
  api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
});
afterAll(async () => {
  await api?.stop('SIGKILL');
  await worker?.[Symbol.asyncDispose]();
  await redis?.stop();
});

const call = (path: string, request?: RawRequest) => send(`${api.url}${path}`, request);
const codeOf = (answer: { body: Buffer }) =>
  (JSON.parse(answer.body.toString()) as { error: { code: string } }).error.code;

describe('models', () => {
  it('lists models with their versions, plans and lanes', async () => {
    const answer = await call('/v1/models');
    const { models } = json<{ models: { name: string; versions: unknown[] }[] }>(answer);
    expect(models.find((model) => model.name === 'double')?.versions).toEqual([
      {
        version: '1',
        state: 'LOADED',
        reason: '',
        digest: 'sha-double',
        wasReady: false,
        retired: false,
        plan: { shapes: [SHAPE, OTHER], required: 2, held: [] },
        lanes: { READY: 1, FAILED: 1 },
      },
    ]);
  });

  it('shows one version with inputs, outputs and options', async () => {
    const one = json<ModelDoc & { inputs: unknown[] }>(await call('/v1/models/double/versions/1'));
    expect(one).toMatchObject({
      name: 'double',
      version: '1',
      inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 2] }],
      options: {},
    });
    expect(codeOf(await call('/v1/models/nobody/versions/1'))).toBe('unknown-model');
    expect(codeOf(await call('/v1/models/double/versions/7'))).toBe('unknown-version');
  });

  it('takes a shape out of the plan', async () => {
    const path = `/v1/models/double/versions/1/plan/${encodeURIComponent(OTHER)}`;
    expect((await call(path, { method: 'DELETE' })).status).toBe(204);
    expect((await worker.plans.entries('double', '1')).map((entry) => entry.shapeKey)).toEqual([SHAPE]);
    const again = await call(path, { method: 'DELETE' });
    expect([again.status, codeOf(again)]).toEqual([404, 'not-found']);
    const bad = await call('/v1/models/double/versions/1/plan/nonsense', { method: 'DELETE' });
    expect([bad.status, codeOf(bad)]).toEqual([400, 'bad-request']);
  });

  it('takes a key whose names are encoded, once more encoded in the path', async () => {
    const odd = 'a%3Ab:float32[1]';
    await worker.plans.setDeclared('double', '1', [declared(SHAPE), declared(odd)]);
    expect(
      (await call(`/v1/models/double/versions/1/plan/${encodeURIComponent(odd)}`, { method: 'DELETE' })).status,
    ).toBe(204);
  });
});

describe('lanes', () => {
  it('lists lanes with their records, by model, state and worker', async () => {
    const { lanes } = json<{ lanes: LaneDoc[] }>(await call('/v1/lanes?model=double&state=READY&worker=fake-0'));
    expect(lanes).toEqual([{ ...lane, record: RECORD }]);
    expect(json<{ lanes: unknown[] }>(await call('/v1/lanes?model=nobody')).lanes).toEqual([]);
    const bad = await call('/v1/lanes?state=WARM');
    expect(bad.status).toBe(400);
    expect(json(bad)).toMatchObject({
      error: { code: 'bad-request', message: expect.stringMatching(/^state: /) as unknown, retryable: false },
    });
    expect((await call('/v1/lanes?colour=red')).status).toBe(400);
  });

  it('holds a lane back on its worker', async () => {
    const answer = await call(`/v1/lanes/${lane.id}/evict`, { method: 'POST' });
    expect(answer.status).toBe(202);
    expect((await worker.plans.entries('double', '1'))[0]).toMatchObject({ shapeKey: SHAPE, held: ['fake-0'] });
    expect(codeOf(await call('/v1/lanes/unknown/evict', { method: 'POST' }))).toBe('not-found');
  });

  it('asks the lane’s worker to verify it', async () => {
    expect((await call(`/v1/lanes/${lane.id}/verify`, { method: 'POST' })).status).toBe(202);
    expect(await worker.lanes.takeVerifyRequests('fake-0')).toEqual([lane.id]);
    expect((await call('/v1/lanes/unknown/verify', { method: 'POST' })).status).toBe(404);
  });
});

describe('workers and tunings', () => {
  it('lists the workers', async () => {
    const { workers } = json<{ workers: WorkerDoc[] }>(await call('/v1/workers'));
    expect(workers).toEqual([
      {
        id: 'fake-0',
        host: 'test-host',
        device: 'cpu',
        provider: 'cpu',
        epoch: worker.epoch,
        state: 'serving',
        since: workers[0]?.since,
        reason: '',
        memory: { budget: 2 ** 30, used: 2 ** 20 },
        lanes: {},
      },
    ]);
  });

  it('lists the latest tuning of each shape and environment, with every candidate', async () => {
    expect(json(await call('/v1/tunings'))).toEqual({ tunings: [] });
    const candidate: TuningCandidate = {
      name: 'threads-1',
      options: { intra_op_num_threads: 1 },
      outcome: 'won',
      firstMs: 3,
      p50Ms: 1,
      p99Ms: 2,
      relativeError: 1e-6,
      memoryBytes: 1024,
      reason: '',
      signal: null,
    };
    const crashed: TuningCandidate = {
      ...candidate,
      name: 'no-arena',
      outcome: 'crashed',
      p50Ms: null,
      signal: 'SIGSEGV',
    };
    const view = {
      model: 'double',
      version: '1',
      shapeKey: SHAPE,
      environment: 'env',
      provider: 'cpu' as const,
      device: 'cpu',
      state: 'done' as const,
      chosen: 'threads-1',
      candidates: [candidate, crashed],
      worker: 'fake-0',
      updatedAt: '2026-01-02T00:00:00.000Z',
    };
    const store = new TuningStore(worker.redis);
    await store.put({ ...view, modelDigest: 'd', basis: 'new' }, 'token');
    const older = { ...view, chosen: null, updatedAt: '2026-01-01T00:00:00.000Z' };
    await store.put({ ...older, modelDigest: 'd', basis: 'old' }, 'token');
    expect(json(await call('/v1/tunings'))).toEqual({ tunings: [view] });
  });
});

describe('asynchronous inference', () => {
  const accept = (model: string, request: RawRequest) => call(`/v1/models/${model}/versions/1/infer`, request);
  const x = { name: 'x', datatype: 'FP32', shape: [1, 2] };

  async function finished(id: string) {
    await expect.poll(async () => (await call(`/v1/inferences/${id}`)).status).not.toBe(202);
    return call(`/v1/inferences/${id}`);
  }

  it('answers later, in the form that was asked for, and again', async () => {
    const accepted = await accept('double', tritonRequest([{ ...x, data: floats(1, 2) }], { id: 'mine' }));
    expect(accepted.status).toBe(202);
    const { id } = json<{ id: string }>(accepted);
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    for (const answer of [await finished(id), await finished(id)]) {
      expect(answer.headers['warmlane-shape']).toBe(SHAPE);
      const { head, outputs } = takeApart(answer);
      expect(head).toMatchObject({ id: 'mine', model_name: 'double', model_version: '1' });
      expect(outputs.get('y')).toEqual(floats(2, 4));
    }
  });

  it('carries large tensors, both ways', async () => {
    const data = Buffer.alloc(3_000_000, 5);
    const accepted = await accept(
      'echo-uint8',
      tritonRequest([{ name: 'x', datatype: 'UINT8', shape: [data.byteLength], data }]),
    );
    const answer = await finished(json<{ id: string }>(accepted).id);
    expect(takeApart(answer).outputs.get('y')?.equals(data)).toBe(true);
  });

  it('refuses what a synchronous one refuses, at once', async () => {
    const wrong = await accept('double', {
      body: JSON.stringify({ inputs: [{ ...x, shape: [1, 3], data: [1, 2, 3] }] }),
    });
    expect([wrong.status, codeOf(wrong)]).toEqual([400, 'bad-request']);
    expect(codeOf(await accept('nobody', { body: '{"inputs":[]}' }))).toBe('unknown-model');
  });

  it('gives a failed one its error and status, an unknown one 404', async () => {
    await worker.serve({
      ...DOUBLE,
      name: 'failing',
      compute: () => Promise.reject(new Error('the graph went wrong')),
    });
    const accepted = await accept('failing', { body: JSON.stringify({ inputs: [{ ...x, data: [1, 2] }] }) });
    const answer = await finished(json<{ id: string }>(accepted).id);
    expect(answer.status).toBe(500);
    expect(json(answer)).toMatchObject({
      error: { code: 'internal', message: 'the graph went wrong', retryable: false },
    });
    for (const id of ['nonsense', '0'.repeat(32)]) expect((await call(`/v1/inferences/${id}`)).status).toBe(404);
  });

  it('is fetched from another process, also after the one that took it is gone', async () => {
    const late = { ...DOUBLE, name: 'late' };
    await worker.register(late);
    const first = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    const data = floats(...Array.from({ length: 20_000 }, (_, at) => at));
    const accepted = await send(
      `${first.url}/v1/models/late/versions/1/infer`,
      tritonRequest([{ ...x, shape: [10_000, 2], data }]),
    );
    const { id } = json<{ id: string }>(accepted);
    expect((await call(`/v1/inferences/${id}`)).status).toBe(202);
    expect((await first.stop('SIGTERM')).code).toBe(0);
    // Only now somebody takes the job: its input must have outlived the process that wrote it.
    await worker.serve(late);
    const { outputs } = takeApart(await finished(id));
    expect(outputs.get('y')?.readFloatLE(4 * 9_999)).toBe(2 * 9_999);
  });
});
