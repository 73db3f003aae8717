import { WarmlaneError } from '@warmlane/contracts';
import { type AsyncAnswer, WarmlaneClient } from '@warmlane/queues';
import { createRedis, keys, LaneStore } from '@warmlane/redis';
import { startRedis } from '@warmlane/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { startApiParts } from './api-parts.fixture.js';
import { useRedis } from './redis-client.fixture.js';
import {
  MODEL,
  registerEcho,
  SHAPE,
  type StandInOptions,
  StandInWorker,
  tensor,
  valuesOf,
} from './stand-in-worker.fixture.js';

const fixture = useRedis();
const closing: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startWorker(options: StandInOptions = {}): Promise<StandInWorker> {
  const worker = await new StandInWorker(fixture.server.url, options).start();
  closing.push(() => worker.stop());
  return worker;
}

async function startApi(): Promise<void> {
  const api = await startApiParts(fixture.connect);
  closing.push(api.close);
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof WarmlaneError)) throw new Error(`expected a WarmlaneError, got ${String(error)}`);
  return error.code;
}

async function settled(client: WarmlaneClient, id: string): Promise<AsyncAnswer> {
  return await vi.waitFor(
    async () => {
      const answer = await client.result(id);
      if (answer === null) throw new Error('it runs');
      return answer;
    },
    { timeout: 10_000, interval: 50 },
  );
}

describe('WarmlaneClient', () => {
  it('infers, with nothing but Redis and a worker', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.hold();
    await using client = await WarmlaneClient.connect({ redis: fixture.server.url });
    const answer = await client.infer({ model: MODEL, inputs: [tensor([1, 2, 3, 4])], deadlineMs: 10_000 });
    expect(answer.outputs.map(valuesOf)).toEqual([[1, 2, 3, 4]]);
    expect(await codeOf(client.infer({ model: 'nobody', inputs: [tensor([1])] }))).toBe('unknown-model');
    expect(await codeOf(client.infer({ model: MODEL, inputs: [tensor([1])], deadlineMs: 50 }))).toBe(
      'deadline-exceeded',
    );
  });

  it.each([
    ['small', 4],
    ['large', 50_000],
  ])('infers asynchronously with %s tensors; the answer stays for others to ask', async (_size, count) => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.serveCold();
    await startApi();
    await using client = await WarmlaneClient.connect({ redis: fixture.server.url });
    const values = Array.from({ length: count }, (_, n) => n);
    const { id } = await client.inferAsync({ model: MODEL, inputs: [tensor(values)] });
    const answer = await settled(client, id);
    expect(answer.shapeKey).toBe(`x:float32[1,${count}]`);
    expect(answer.outputs.map(valuesOf)).toEqual([values]);
    await using other = await WarmlaneClient.connect({ redis: fixture.connect('own') });
    expect((await other.result(id))?.outputs.map(valuesOf)).toEqual([values]);
  });

  it('refuses asynchronous requests that do not fit at once, and gives the error of those that failed', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker({ before: () => Promise.reject(new WarmlaneError('poison', 'kills runtimes')) });
    await worker.serveCold();
    await startApi();
    await using client = await WarmlaneClient.connect({ redis: fixture.server.url });
    const refuse = (more: object) => codeOf(client.inferAsync({ model: MODEL, inputs: [tensor([1])], ...more }));
    expect(await refuse({ model: 'nobody' })).toBe('unknown-model');
    expect(await refuse({ inputs: [{ ...tensor([1, 2]), dims: [1, 3] }] })).toBe('bad-request');
    const { id } = await client.inferAsync({ model: MODEL, inputs: [tensor([1])] });
    await vi.waitFor(async () => expect(await codeOf(client.result(id))).toBe('poison'), { timeout: 10_000 });
    expect(await codeOf(client.result('0'.repeat(32)))).toBe('not-found');
  });

  it('warms shapes up and waits for the end', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.warmLanes(() => Promise.resolve('ready'));
    await startApi();
    await using client = await WarmlaneClient.connect({ redis: fixture.server.url });
    const view = await client.warmUp({ model: MODEL, version: '1', shapes: [SHAPE] });
    expect(view).toMatchObject({ state: 'ready', total: 1, ready: 1 });
    expect(await new LaneStore(fixture.redis).list({ state: 'READY' })).toHaveLength(1);
    expect(await codeOf(client.warmUp({ model: MODEL, version: '7', shapes: [SHAPE] }))).toBe('unknown-version');
    expect(await codeOf(client.warmUp({ model: MODEL, version: '1', shapes: ['y:float32[1]'] }))).toBe('bad-request');
    const controller = new AbortController();
    controller.abort();
    const canceled = client.warmUp({ model: MODEL, version: '1', shapes: [SHAPE] }, { signal: controller.signal });
    expect(await codeOf(canceled)).toBe('canceled');
  });

  it('keeps tensors in another Redis where it is told so', async () => {
    const blobServer = await startRedis();
    closing.push(() => blobServer.stop());
    await registerEcho(fixture.redis);
    await using client = await WarmlaneClient.connect({ redis: fixture.server.url, blobRedis: blobServer.url });
    const sent = client.infer({ model: MODEL, inputs: [tensor(new Array<number>(5_000).fill(1))], deadlineMs: 800 });
    const blobs = createRedis(blobServer.url, { name: 'blobs' });
    closing.push(() => blobs.disconnect());
    await vi.waitFor(async () => expect(await blobs.keys('{wl}:blob:*')).toHaveLength(1));
    expect(await fixture.redis.keys(keys.blob('*'))).toEqual([]);
    expect(await codeOf(sent)).toBe('deadline-exceeded');
    await vi.waitFor(async () => expect(await blobs.keys('{wl}:blob:*')).toEqual([]));
  });
});
