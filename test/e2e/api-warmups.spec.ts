import { setTimeout as delay } from 'node:timers/promises';
import { WarmlaneError, type WarmupView } from '@warmlane/contracts';
import { PlanStore } from '@warmlane/redis';
import { startRedis } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { registerEcho, StandInWorker } from '../redis/stand-in-worker.fixture.js';
import { ApiProcess } from './api-process.fixture.js';
import { json, send } from './protocol-client.fixture.js';

let redis: Awaited<ReturnType<typeof startRedis>>;
let worker: StandInWorker;
let plans: PlanStore;
let api: ApiProcess;
const A = 'x:float32[1,1]';
const B = 'x:float32[1,2]';
const REFUSED = 'x:float32[1,13]';
const HANGING = 'x:float32[1,99]';

beforeAll(async () => {
  redis = await startRedis();
  worker = new StandInWorker(redis.url);
  plans = new PlanStore(worker.redis);
  await registerEcho(worker.redis);
  api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
});
afterAll(async () => {
  await api?.stop('SIGKILL');
  await worker?.stop();
  await redis?.stop();
});

const create = (body: unknown, model = 'echo', version = '1') =>
  send(`${api.url}/v1/models/${model}/versions/${version}/warmups`, { body: JSON.stringify(body) });
const view = async (id: string) => json<unknown>(await send(`${api.url}/v1/warmups/${id}`)) as WarmupView;
const planned = async () => (await plans.entries('echo', '1')).map((entry) => entry.shapeKey);

/** Every `data:` of a stream of server-sent events, read to its end. */
async function eventsOf(id: string): Promise<WarmupView[]> {
  const answer = await send(`${api.url}/v1/warmups/${id}/events`);
  expect(answer.headers['content-type']).toBe('text/event-stream');
  return answer.body
    .toString()
    .split('\n\n')
    .filter((event) => event.startsWith('data: '))
    .map((event) => JSON.parse(event.slice('data: '.length)) as WarmupView);
}

describe('warm-ups, in the order of a start', () => {
  let first = '';

  it('stays queued without a worker; the same request is the same warm-up', async () => {
    const answer = await create({ shapes: [A, B] });
    expect(answer.status).toBe(202);
    expect(json(answer)).toMatchObject({ state: 'queued', total: 2, reason: 'no worker' });
    first = json<{ id: string }>(answer).id;
    expect(json(await create({ shapes: [A, B] }))).toMatchObject({ id: first });
    expect(json(await create({ shapes: [A] })).id).not.toBe(first);
    expect(await planned()).toEqual([A, B]);
  });

  it('becomes ready when a worker comes, and its events end with that', async () => {
    const events = eventsOf(first);
    await worker.start();
    await worker.warmLanes(async (job, signal) => {
      if (job.shapeKey === REFUSED) return new WarmlaneError('bad-request', 'the graph refuses it');
      if (job.shapeKey === HANGING) await delay(60_000, undefined, { signal }).catch(() => undefined);
      return 'ready';
    });
    const seen = await events;
    expect(seen[0]).toMatchObject({ id: first, state: 'queued' });
    expect(seen.at(-1)).toMatchObject({
      id: first,
      state: 'ready',
      total: 2,
      ready: 2,
      failed: 0,
      lanes: [
        { shapeKey: A, worker: 'w-0', state: 'READY' },
        { shapeKey: B, worker: 'w-0', state: 'READY' },
      ],
    });
    expect(await view(first)).toEqual(seen.at(-1));
    expect((await eventsOf(first)).map((event) => event.state)).toEqual(['ready']);
  });

  it('is a new one after the end', async () => {
    const again = json<{ id: string }>(await create({ shapes: [A, B] })).id;
    expect(again).not.toBe(first);
    await expect.poll(async () => (await view(again)).state).toBe('ready');
  });

  it('ends partial where the graph refuses one shape', async () => {
    const { id } = json<{ id: string }>(await create({ shapes: [A, REFUSED], priority: 0 }));
    const last = (await eventsOf(id)).at(-1);
    expect(last).toMatchObject({ state: 'partial', ready: 1, failed: 1 });
    expect(last?.lanes[1]).toMatchObject({ shapeKey: REFUSED, state: 'FAILED', reason: 'the graph refuses it' });
    await plans.remove('echo', '1', REFUSED);
  });

  it('takes the whole plan', async () => {
    expect(json(await create({ shapes: 'plan' }))).toMatchObject({ total: 2 });
  });

  it('is canceled: what it alone added leaves the plan', async () => {
    const { id } = json<{ id: string }>(await create({ shapes: [A, HANGING] }));
    const events = eventsOf(id);
    await expect.poll(() => worker.warmed.some((job) => job.shapeKey === HANGING)).toBe(true);
    expect(await planned()).toContain(HANGING);
    expect((await send(`${api.url}/v1/warmups/${id}`, { method: 'DELETE' })).status).toBe(200);
    expect((await events).at(-1)?.state).toBe('canceled');
    expect(await planned()).toEqual([A, B]);
  });

  it('ends at its deadline; the plan keeps its shapes', async () => {
    const { id } = json<{ id: string }>(await create({ shapes: [HANGING], deadlineMs: 400 }));
    expect((await eventsOf(id)).at(-1)?.state).toBe('failed');
    expect(await planned()).toContain(HANGING);
  });
});

describe('what a warm-up refuses', () => {
  it.each<[string, unknown, RegExp]>([
    ['a key that is none', { shapes: ['x'] }, /'x' is not name:dtype/],
    ['an unknown input', { shapes: [A, 'z:float32[1,1]'] }, /unknown input 'z'/],
    ['a wrong dtype', { shapes: ['x:int64[1,1]'] }, /input 'x': dtype int64, expected float32/],
    ['a wrong rank', { shapes: ['x:float32[1]'] }, /rank 1/],
    ['a negative dimension', { shapes: ['x:float32[-1,1]'] }, /'-1' is not a non-negative integer/],
    ['a huge dimension', { shapes: ['x:float32[99999999999,1]'] }, /more than/],
    ['no shapes', { shapes: [] }, /shapes/],
    ['an unknown field', { shapes: [A], shape: 1 }, /shape/],
    ['an unknown option', { shapes: [A], options: { cudnn_conv_algo_serch: 'HEURISTIC' } }, /cudnn_conv_algo_search/],
    ['a deadline of 0', { shapes: [A], deadlineMs: 0 }, /deadlineMs/],
    ['a priority of 10', { shapes: [A], priority: 10 }, /priority/],
  ])('%s: 400 for all of it, nothing added', async (_, body, message) => {
    const before = await plans.revision('echo', '1');
    const answer = await create(body);
    expect(answer.status).toBe(400);
    const { error } = json<{ error: { code: string; message: string; hint: string } }>(answer);
    expect(error.code).toBe('bad-request');
    expect(`${error.message} ${error.hint}`).toMatch(message);
    expect(await plans.revision('echo', '1')).toBe(before);
  });

  it('an unknown model, version or id: 404; no JSON: 400', async () => {
    expect((await create({ shapes: [A], tune: true })).status).toBe(202);
    expect((await plans.entries('echo', '1')).find((entry) => entry.shapeKey === A)).toMatchObject({ tune: true });
    expect(json(await create({ shapes: [A] }, 'nobody'))).toMatchObject({ error: { code: 'unknown-model' } });
    expect(json(await create({ shapes: [A] }, 'echo', '7'))).toMatchObject({ error: { code: 'unknown-version' } });
    for (const path of ['x', 'x/events']) expect((await send(`${api.url}/v1/warmups/${path}`)).status).toBe(404);
    expect((await send(`${api.url}/v1/warmups/x`, { method: 'DELETE' })).status).toBe(404);
    expect((await send(`${api.url}/v1/models/echo/versions/1/warmups`, { body: '{' })).status).toBe(400);
  });
});

describe('a stream of events', () => {
  it('does not keep a stopping process', async () => {
    await using other = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    const { id } = json<{ id: string }>(await create({ shapes: [HANGING], deadlineMs: 60_000 }));
    const open = send(`${other.url}/v1/warmups/${id}/events`);
    await expect.poll(async () => (await send(`${other.url}/v1/warmups/${id}`)).status).toBe(200);
    expect((await other.stop('SIGTERM')).code).toBe(0);
    await open.catch(() => undefined);
  });
});
