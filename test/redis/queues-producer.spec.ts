import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { isErrorCode, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { createQueue, type InferRequest, Producer, type ProducerOptions } from '@warmlane/queues';
import { BlobStore, classQueueName, coldQueueName, LaneStore, Notices } from '@warmlane/redis';
import { afterEach, describe, expect, it, vi } from 'vitest';
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
const closing: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startProducer(options: Pick<ProducerOptions, 'classLimit'> = {}): Promise<Producer> {
  const redis = fixture.connect('producer');
  const blobRedis = fixture.connect('blobs');
  const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 30, ...options });
  await producer.start();
  closing.push(() => producer.close());
  return producer;
}

async function startWorker(options: StandInOptions = {}): Promise<StandInWorker> {
  const worker = await new StandInWorker(fixture.server.url, options).start();
  closing.push(() => worker.stop());
  return worker;
}

const infer = (producer: Producer, values: readonly number[], more: Partial<InferRequest> = {}) =>
  producer.infer({ model: MODEL, inputs: [tensor(values)], ...more });

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof WarmlaneError)) throw new Error(`expected a WarmlaneError, got ${String(error)}`);
  expect(isErrorCode(error.code)).toBe(true);
  return error.code;
}

/** Holds jobs back until `open` is called. */
function gate(): { wait: () => Promise<void>; open: () => void } {
  const controller = new AbortController();
  return {
    wait: async () => {
      if (!controller.signal.aborted) await once(controller.signal, 'abort');
    },
    open: () => controller.abort(),
  };
}

describe('Producer', () => {
  it('sends a request to the holder of its class and brings the answer back', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.hold();
    const producer = await startProducer();
    const answer = await infer(producer, [1, 2, 3, 4]);
    expect(answer).toMatchObject({ model: MODEL, version: '1', lane: 'ready', shapeKey: SHAPE, worker: 'w-0' });
    expect(answer.outputs.map((output) => [output.name, output.dims, valuesOf(output)])).toEqual([
      ['y', [1, 4], [1, 2, 3, 4]],
    ]);
    expect(answer.timing.totalMs).toBeGreaterThan(0);
    expect(worker.runs).toHaveLength(1);
    expect(worker.runs[0]).toMatchObject({ v: 1, producer: producer.id, outputs: ['y'], priority: 5, repeat: false });
  });

  it('gives each of 1,000 concurrent requests its own answer', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker({ concurrency: 64 });
    await worker.hold();
    const producer = await startProducer();
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, n) => infer(producer, [n, n + 0.5, -n, 1 / (n + 1)])),
    );
    answers.forEach((answer, n) => {
      const [y] = answer.outputs;
      if (y === undefined) throw new Error('no output');
      expect(valuesOf(y)).toEqual([...new Float32Array([n, n + 0.5, -n, 1 / (n + 1)])]);
    });
    expect(worker.runs).toHaveLength(1_000);
  });

  it.each([
    ['inline', 2_000],
    ['as a blob on the same socket', 50_000],
    ['as a blob on another connection', 400_000],
  ])('carries tensors %s, and nothing of them stays', async (_how, count) => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.serveCold();
    const producer = await startProducer();
    const values = Array.from({ length: count }, (_, n) => n);
    const answer = await infer(producer, values);
    const [y] = answer.outputs;
    if (y === undefined) throw new Error('no output');
    expect(valuesOf(y)).toEqual(values);
    expect(worker.runs[0]?.inputs[0]?.blob !== undefined).toBe(count > 2_000);
    const blobs = new BlobStore(fixture.redis, fixture.redis, { limitBytes: 1 });
    await vi.waitFor(async () => expect(await blobs.reservedBytes()).toBe(0));
    await vi.waitFor(async () => expect(await fixture.redis.keys('{wl}:blob:*')).toEqual([]));
  });

  it('refuses a tensor beyond the byte budget, and the job does not stay', async () => {
    await registerEcho(fixture.redis);
    const redis = fixture.connect();
    const producer = new Producer({ redis, blobRedis: fixture.connect(), sameRedis: true, blobLimitBytes: 100_000 });
    await producer.start();
    closing.push(() => producer.close());
    expect(await codeOf(infer(producer, new Array<number>(50_000).fill(1)))).toBe('overloaded');
    expect(await codeOf(infer(producer, new Array<number>(400_000).fill(1)))).toBe('overloaded');
    const queue = createQueue(coldQueueName(MODEL, '1'), { redis: fixture.redis });
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('prioritized', 'waiting', 'active')).toBe(0));
    await vi.waitFor(async () => expect(await fixture.redis.keys('{wl}:blob:*')).toEqual([]));
    await queue.close();
  });

  it('routes to the cold queue while nobody live holds the class, and to the class as soon as one does', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.serveCold();
    const producer = await startProducer();
    await infer(producer, [1, 2, 3, 4]);
    const classQueue = createQueue(classQueueName(MODEL, '1', SHAPE), { redis: fixture.redis });
    expect(await classQueue.getJobCountByTypes('prioritized', 'waiting', 'active')).toBe(0);
    const lane = await worker.hold();
    await vi.waitFor(async () => {
      const before = await fixture.redis.exists(`{wl}:${classQueueName(MODEL, '1', SHAPE)}:meta`);
      await infer(producer, [1, 2, 3, 4]);
      expect(before).toBe(1);
    });
    // The lane leaves: within the route's 200 ms requests are cold again, and none is lost on the way.
    await new LaneStore(fixture.redis).leave({ ...lane, state: 'EVICTED', record: null }, SHAPE);
    await vi.waitFor(async () => {
      await infer(producer, [1, 2, 3, 4]);
      expect(await classQueue.getJobCountByTypes('prioritized', 'waiting')).toBe(0);
    });
    await classQueue.close();
  });

  it('refuses what goes over the limit of a class, answers the rest, and takes requests again when they are answered', async () => {
    await registerEcho(fixture.redis);
    const held = gate();
    const worker = await startWorker({ before: held.wait });
    await worker.hold();
    await (await startWorker({ id: 'cold-0' })).serveCold();
    const classLimit = { jobs: 20, bytes: 2 ** 20 };
    const [one, other] = [await startProducer({ classLimit }), await startProducer({ classLimit })];
    const sent = Array.from({ length: 60 }, (_, n) =>
      infer(one, [n, 0, 0, 0]).then(
        ({ outputs: [y] }) => (y !== undefined && valuesOf(y)[0] === n ? 'right' : 'wrong'),
        (error: unknown) => WarmlaneError.from(error).code,
      ),
    );
    const queue = createQueue(classQueueName(MODEL, '1', SHAPE), { redis: fixture.redis });
    const waiting = () => queue.getJobCountByTypes('wait', 'prioritized');
    await vi.waitFor(async () => expect(await waiting()).toBeGreaterThan(0), { timeout: 10_000 });
    const settledMeanwhile = await Promise.race([Promise.all(sent), Promise.resolve(null)]);
    expect(settledMeanwhile).toBeNull();
    // Another class is not touched by it.
    expect((await infer(other, [1, 2])).worker).toBe('cold-0');
    held.open();
    const outcomes = await Promise.all(sent);
    expect(outcomes.filter((outcome) => outcome === 'right')).toHaveLength(20);
    expect(outcomes.filter((outcome) => outcome === 'overloaded')).toHaveLength(40);
    await vi.waitFor(async () => expect(await waiting()).toBe(0), { timeout: 10_000 });
    await vi.waitFor(async () => expect((await infer(one, [1, 2, 3, 4])).worker).toBe('w-0'), { timeout: 10_000 });
    await queue.close();
  });

  it('maps priorities to the queue: 0 runs before 5', async () => {
    await registerEcho(fixture.redis);
    const order: number[] = [];
    const held = gate();
    const worker = await startWorker({
      concurrency: 1,
      before: async (job) => {
        order.push(job.priority);
        await held.wait();
      },
    });
    await worker.serveCold();
    const producer = await startProducer();
    const first = infer(producer, [1], { priority: 9 });
    await vi.waitFor(() => expect(order).toEqual([9]));
    const others = [8, 5, 0, 3].map((priority) => infer(producer, [priority], { priority }));
    const queue = createQueue(coldQueueName(MODEL, '1'), { redis: fixture.redis });
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('prioritized', 'waiting')).toBe(4));
    held.open();
    await Promise.all([first, ...others]);
    expect(order).toEqual([9, 0, 3, 5, 8]);
    await queue.close();
  });

  it('serves a patient request before its deadline, however many urgent ones come', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker({ concurrency: 1, before: () => delay(20) });
    await worker.serveCold();
    const producer = await startProducer();
    let waits = true;
    const urgent = Array.from({ length: 8 }, async () => {
      while (waits) await infer(producer, [1], { priority: 0 });
    });
    const patient = infer(producer, [2], { priority: 9, deadlineMs: 4_000 }).finally(() => {
      waits = false;
    });
    const answers = await Promise.allSettled([patient, ...urgent]);
    expect(answers[0]).toMatchObject({ status: 'fulfilled', value: { worker: worker.id } });
  });

  it('refuses what does not fit the model before anything is enqueued', async () => {
    await registerEcho(fixture.redis);
    const producer = await startProducer();
    const x = tensor([1, 2]);
    const send = (inputs: readonly NamedTensor[], more: Partial<InferRequest> = {}) =>
      codeOf(producer.infer({ model: MODEL, inputs, ...more }));
    expect(await send([x], { model: 'nobody' })).toBe('unknown-model');
    expect(await send([x], { version: '7' })).toBe('unknown-version');
    expect(await send([{ ...x, name: 'z' }])).toBe('bad-request');
    expect(await send([{ ...x, dtype: 'int32' }])).toBe('bad-request');
    expect(await send([{ ...x, dims: [2] }])).toBe('bad-request');
    expect(await send([{ ...x, dims: [1, 3] }])).toBe('bad-request');
    expect(await send([{ ...x, dims: [1, -2] }])).toBe('bad-request');
    expect(await send([x], { outputs: ['nope'] })).toBe('bad-request');
    expect(await fixture.redis.keys('{wl}:cold*')).toEqual([]);
  });

  it('ends with deadline-exceeded when nobody answers, and takes the job out', async () => {
    await registerEcho(fixture.redis);
    const producer = await startProducer();
    const queue = createQueue(coldQueueName(MODEL, '1'), { redis: fixture.redis });
    const late = codeOf(infer(producer, [1], { deadlineMs: 300 }));
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('prioritized')).toBe(1));
    expect(await late).toBe('deadline-exceeded');
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('prioritized')).toBe(0));
    expect(producer.inFlight).toBe(0);
    await queue.close();
  });

  it('takes a waiting job out when its sender leaves', async () => {
    await registerEcho(fixture.redis);
    const producer = await startProducer();
    const queue = createQueue(coldQueueName(MODEL, '1'), { redis: fixture.redis });
    const controller = new AbortController();
    const sent = codeOf(infer(producer, [1], { signal: controller.signal }));
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('prioritized')).toBe(1));
    controller.abort();
    expect(await sent).toBe('canceled');
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('prioritized')).toBe(0));
    expect(await codeOf(infer(producer, [1], { signal: controller.signal }))).toBe('canceled');
    await queue.close();
  });

  it('tells the worker that has the job where its sender leaves', async () => {
    await registerEcho(fixture.redis);
    const held = gate();
    const worker = await startWorker({ before: () => held.wait() });
    await worker.serveCold();
    const producer = await startProducer();
    const notices = new Notices(fixture.redis);
    const heard: string[] = [];
    await notices.subscribe((notice) => {
      if (notice.kind === 'abandon') heard.push(notice.request);
    });
    const controller = new AbortController();
    const sent = codeOf(infer(producer, [1], { signal: controller.signal }));
    await vi.waitFor(() => expect(worker.runs).toHaveLength(1));
    controller.abort();
    expect(await sent).toBe('canceled');
    await vi.waitFor(() => expect(heard).toEqual([worker.runs[0]?.request]));
    notices.close();
    held.open();
  });

  it('passes on the error that the worker answered', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker({
      before: () => Promise.reject(new WarmlaneError('poison', 'this input kills runtimes')),
    });
    await worker.serveCold();
    const producer = await startProducer();
    expect(await codeOf(infer(producer, [1]))).toBe('poison');
  });
});
