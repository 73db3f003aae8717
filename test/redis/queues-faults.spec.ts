import { WarmlaneError } from '@warmlane/contracts';
import { Producer } from '@warmlane/queues';
import { classQueueName, createRedis, keys, ReplyStore } from '@warmlane/redis';
import { startRedis } from '@warmlane/testing';
import type { Redis } from 'ioredis';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  MODEL,
  registerEcho,
  SHAPE,
  type StandInOptions,
  StandInWorker,
  tensor,
  valuesOf,
} from './stand-in-worker.fixture.js';

type Server = Awaited<ReturnType<typeof startRedis>>;

const closing: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startServer(options: Parameters<typeof startRedis>[0] = {}): Promise<Server> {
  const server = await startRedis(options);
  closing.push(() => server.stop());
  return server;
}

function connect(server: Server): Redis {
  const redis = createRedis(server.url, { name: 'test' });
  closing.push(() => redis.disconnect());
  return redis;
}

async function startProducer(server: Server): Promise<Producer> {
  const producer = new Producer({
    redis: connect(server),
    blobRedis: connect(server),
    sameRedis: true,
    blobLimitBytes: 2 ** 30,
  });
  await producer.start();
  closing.push(() => producer.close());
  return producer;
}

async function startWorker(server: Server, options: StandInOptions = {}): Promise<StandInWorker> {
  const worker = await new StandInWorker(server.url, options).start();
  closing.push(() => worker.stop());
  return worker;
}

const send = (producer: Producer, values: readonly number[], deadlineMs = 20_000) =>
  producer.infer({ model: MODEL, inputs: [tensor(values)], deadlineMs });

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof WarmlaneError)) throw new Error(`expected a WarmlaneError, got ${String(error)}`);
  return error.code;
}

/** The value that the echo of `n` must have, or the failure's code. */
async function outcome(work: ReturnType<typeof send>, n: number): Promise<'right' | 'wrong' | string> {
  try {
    const { outputs } = await work;
    const [y] = outputs;
    return y !== undefined && valuesOf(y)[0] === n ? 'right' : 'wrong';
  } catch (error) {
    return WarmlaneError.from(error).code;
  }
}

/** The input of a request that its holder never answers. */
const STUCK = Buffer.from(new Float32Array([9, 0, 0, 0]).buffer).toString('base64');

const never = (): Promise<never> => new Promise<never>(() => undefined);

describe('a holder that dies', () => {
  it('between enqueue and answer: the request is repeated once, on the cold queue, and answered once', async () => {
    const server = await startServer();
    const redis = connect(server);
    await registerEcho(redis);
    const holder = await startWorker(server, { id: 'holder-0', before: never });
    await holder.hold();
    const other = await startWorker(server, { id: 'other-0' });
    await other.serveCold();
    const producer = await startProducer(server);
    const sentAt = performance.now();
    const answer = send(producer, [7, 0, 0, 0]);
    await vi.waitFor(() => expect(holder.runs).toHaveLength(1));
    await holder.die();
    expect((await answer).worker).toBe('other-0');
    // Far before the lock of the job ends (5 s): a second until the holder counts as dead, and a look.
    expect(performance.now() - sentAt).toBeLessThan(4_000);
    expect(other.runs.map((job) => [job.request, job.repeat])).toEqual([[holder.runs[0]?.request, true]]);

    // An adopter gets the first job when its lock ends; what it answers comes too late.
    const adopter = await startWorker(server, { id: 'adopter-0' });
    await adopter.consume(classQueueName(MODEL, '1', SHAPE));
    await vi.waitFor(() => expect(adopter.runs).toHaveLength(1), { timeout: 15_000, interval: 100 });
    const request = holder.runs[0]?.request ?? '';
    const [kept] = await new ReplyStore(redis).read([request]);
    expect(kept?.head).toMatchObject({ ok: true, worker: 'other-0' });
    expect(await redis.xlen(keys.replies(producer.id))).toBe(1);
    expect(other.runs).toHaveLength(1);
  });

  it('lives on in another epoch: it has a second to answer by itself, then the request is repeated', async () => {
    const server = await startServer();
    await registerEcho(connect(server));
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const holder = await startWorker(server, {
      id: 'holder-0',
      before: async (job) => {
        if (job.inputs[0]?.base64 === STUCK) await never();
        await released;
      },
    });
    await holder.hold();
    const other = await startWorker(server, { id: 'other-0' });
    await other.serveCold();
    const producer = await startProducer(server);
    const stuck = send(producer, [9, 0, 0, 0]);
    const helped = send(producer, [1, 0, 0, 0]);
    await vi.waitFor(() => expect(holder.runs).toHaveLength(2));
    await holder.renew();
    release();
    expect((await helped).worker).toBe('holder-0');
    expect((await stuck).worker).toBe('other-0');
    expect(other.runs).toHaveLength(1);
  });

  it('leaves alone what only waits, and what another holds', async () => {
    const server = await startServer();
    await registerEcho(connect(server));
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const holder = await startWorker(server, { id: 'holder-0', concurrency: 1, before: never });
    await holder.hold();
    const survivor = await startWorker(server, { id: 'survivor-0', concurrency: 1, before: () => released });
    const cold = await startWorker(server, { id: 'cold-0' });
    await cold.serveCold();
    const producer = await startProducer(server);
    const first = send(producer, [1, 0, 0, 0]);
    await vi.waitFor(() => expect(holder.runs).toHaveLength(1));
    await survivor.hold();
    const others = [2, 3, 4].map((n) => send(producer, [n, 0, 0, 0]));
    await vi.waitFor(() => expect(survivor.runs).toHaveLength(1));
    await holder.die();
    expect((await first).worker).toBe('cold-0');
    expect(cold.runs).toHaveLength(1);
    release();
    const answers = await Promise.all(others);
    expect(answers.map((answer) => answer.worker)).toEqual(['survivor-0', 'survivor-0', 'survivor-0']);
    expect(cold.runs).toHaveLength(1);
  });

  it('repeats no more than the tokens allow; the rest is answered when the locks end', async () => {
    const server = await startServer();
    await registerEcho(connect(server));
    const holder = await startWorker(server, { id: 'holder-0', concurrency: 30, before: never });
    await holder.hold();
    const other = await startWorker(server, { id: 'other-0', concurrency: 30 });
    await other.serveCold();
    const producer = await startProducer(server);
    const sent = Array.from({ length: 30 }, (_, n) => send(producer, [n, 0, 0, 0]));
    await vi.waitFor(() => expect(holder.runs).toHaveLength(30));
    await holder.die();
    // The stock of 20; the 30 requests were accepted while it was full.
    await vi.waitFor(() => expect(other.runs).toHaveLength(20), { timeout: 5_000 });
    await other.consume(classQueueName(MODEL, '1', SHAPE));
    const answers = await Promise.all(sent.map((work, n) => outcome(work, n)));
    expect(new Set(answers)).toEqual(new Set(['right']));
    expect(other.runs.filter((job) => job.repeat)).toHaveLength(20);
  });
});

describe('Redis away', () => {
  it('is refused at once, and the next request after its return is served', async () => {
    const server = await startServer({ persistence: 'aof' });
    await registerEcho(connect(server));
    const worker = await startWorker(server);
    await worker.hold();
    const producer = await startProducer(server);
    expect(await outcome(send(producer, [1, 0, 0, 0]), 1)).toBe('right');
    await server.kill();
    // A request on its way while the connection breaks waits a second for its return; the next is refused at once.
    await vi.waitFor(
      async () => {
        const askedAt = performance.now();
        expect(await codeOf(send(producer, [2, 0, 0, 0]))).toBe('redis-away');
        expect(performance.now() - askedAt).toBeLessThan(100);
      },
      { timeout: 10_000 },
    );
    await server.restart();
    await vi.waitFor(async () => expect(await outcome(send(producer, [3, 0, 0, 0]), 3)).toBe('right'), {
      timeout: 10_000,
    });
  });

  it('answers nothing: a new request is refused after some seconds, an accepted one is answered afterwards', async () => {
    const server = await startServer();
    await registerEcho(connect(server));
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const worker = await startWorker(server, { before: () => released });
    await worker.hold();
    const producer = await startProducer(server);
    const accepted = outcome(send(producer, [1, 0, 0, 0]), 1);
    await vi.waitFor(() => expect(worker.runs).toHaveLength(1));
    server.pause();
    const askedAt = performance.now();
    expect(await codeOf(send(producer, [2, 0, 0, 0]))).toBe('redis-away');
    expect(performance.now() - askedAt).toBeLessThan(5_000);
    server.resume();
    release();
    expect(await accepted).toBe('right');
    // Nobody died: all were silent together.
    expect(worker.runs.filter((job) => job.repeat)).toEqual([]);
  });

  it('killed and restarted under load: what was accepted is answered, once, and right', async () => {
    const server = await startServer({ persistence: 'aof', args: ['--appendfsync', 'always'] });
    const redis = connect(server);
    await registerEcho(redis);
    const worker = await startWorker(server, { concurrency: 8 });
    await worker.hold();
    const producer = await startProducer(server);
    const outcomes: string[] = [];
    let n = 0;
    let stop = false;
    const clients = Array.from({ length: 16 }, async () => {
      while (!stop) {
        const value = n;
        n += 1;
        outcomes.push(await outcome(send(producer, [value, 0, 0, 0], 15_000), value));
        // A refused client of ours comes back at once; leave the loop to others.
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
    const right = () => outcomes.filter((one) => one === 'right').length;
    await vi.waitFor(() => expect(right()).toBeGreaterThan(200), { timeout: 10_000 });
    await server.kill();
    await vi.waitFor(async () => expect(await codeOf(send(producer, [-1, 0, 0, 0]))).toBe('redis-away'), {
      timeout: 10_000,
    });
    await server.restart();
    const before = right();
    await vi.waitFor(() => expect(right()).toBeGreaterThan(before + 200), { timeout: 15_000 });
    stop = true;
    await Promise.all(clients);
    expect(outcomes.filter((one) => one !== 'right' && one !== 'redis-away')).toEqual([]);
    expect(producer.inFlight).toBe(0);
  });

  it('does not keep a producer from closing', async () => {
    const server = await startServer();
    await registerEcho(connect(server));
    const producer = await startProducer(server);
    const sent = codeOf(send(producer, [1, 0, 0, 0]));
    await server.kill();
    const closedAt = performance.now();
    await producer.close();
    expect(performance.now() - closedAt).toBeLessThan(5_000);
    expect(['not-ready', 'redis-away']).toContain(await sent);
  });

  it('that lost the last second: accepted jobs are added again', async () => {
    const server = await startServer();
    const redis = connect(server);
    await registerEcho(redis);
    const producer = await startProducer(server);
    const sent = outcome(send(producer, [5, 0, 0, 0]), 5);
    await vi.waitFor(async () => expect(await redis.keys('{wl}:cold*:prioritized')).toHaveLength(1));
    // Without persistence everything is lost.
    await server.restart();
    await registerEcho(redis);
    const worker = await startWorker(server);
    await worker.serveCold();
    expect(await sent).toBe('right');
    expect(worker.runs).toHaveLength(1);
  });
});
