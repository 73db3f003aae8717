import { type EntryInferResult, newId, parseErrorBody, type WarmupView } from '@warmlane/contracts';
import { BlobStore, keys } from '@warmlane/redis';
import { type Job, Queue, QueueEvents } from 'bullmq';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type ApiParts, startApiParts } from './api-parts.fixture.js';
import { useRedis } from './redis-client.fixture.js';
import { MODEL, registerEcho, SHAPE, type StandInOptions, StandInWorker } from './stand-in-worker.fixture.js';

const fixture = useRedis();
const closing: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startApi(options: Parameters<typeof startApiParts>[1] = {}): Promise<ApiParts> {
  const api = await startApiParts(fixture.connect, options);
  closing.push(api.close);
  return api;
}

async function startWorker(options: StandInOptions = {}): Promise<StandInWorker> {
  const worker = await new StandInWorker(fixture.server.url, options).start();
  closing.push(() => worker.stop());
  return worker;
}

/** A producer that knows BullMQ and the contract, nothing of ours. */
function bareQueue(name: string): Queue {
  const queue = new Queue(name, { connection: fixture.connect('bare'), prefix: '{wl}' });
  closing.push(() => queue.close());
  return queue;
}

const base64 = (values: readonly number[]): string => Buffer.from(new Float32Array(values).buffer).toString('base64');

const valuesOf = (text: string): number[] => {
  const bytes = Buffer.from(text, 'base64');
  return [...new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))];
};

const inputs = (values: readonly number[]) => [
  { name: 'x', datatype: 'FP32', shape: [1, values.length], base64: base64(values) },
];

const request = (values: readonly number[], more: object = {}) => ({
  v: 1,
  model: MODEL,
  inputs: inputs(values),
  ...more,
});

async function ended(queue: Queue, job: Job): Promise<Job> {
  return await vi.waitFor(
    async () => {
      const now = await queue.getJob(job.id ?? '');
      if (now?.finishedOn === undefined)
        throw new Error(`job ${job.id ?? ''} is ${now === undefined ? 'gone' : 'under way'}`);
      return now;
    },
    { timeout: 20_000, interval: 50 },
  );
}

async function resultOf(queue: Queue, job: Job): Promise<EntryInferResult> {
  const done = await ended(queue, job);
  expect(done.failedReason).toBeUndefined();
  return done.returnvalue as EntryInferResult;
}

async function failureOf(queue: Queue, job: Job) {
  const body = parseErrorBody((await ended(queue, job)).failedReason ?? '');
  if (body === null) throw new Error('failedReason is not the JSON of an error');
  return body;
}

describe('EntryDispatcher, inference', () => {
  it('answers a bare BullMQ client that polls, and one that waits', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.hold();
    await startApi();
    const queue = bareQueue('inference');
    const polled = await resultOf(queue, await queue.add('infer', request([1, 2, 3, 4])));
    expect(polled).toMatchObject({ v: 1, lane: 'ready', shapeKey: SHAPE });
    expect(Object.keys(polled.timing).sort()).toEqual(['computeMs', 'copyMs', 'gatherMs', 'queueMs', 'totalMs']);
    expect(polled.outputs).toEqual([{ name: 'y', datatype: 'FP32', shape: [1, 4], base64: base64([1, 2, 3, 4]) }]);

    const events = new QueueEvents('inference', { connection: fixture.connect('events'), prefix: '{wl}' });
    closing.push(() => events.close());
    await events.waitUntilReady();
    const job = await queue.add('infer', request([5, 6, 7, 8], { version: '1', outputs: ['y'], priority: 0 }));
    const waited = (await job.waitUntilFinished(events, 20_000)) as EntryInferResult;
    expect(
      valuesOf(waited.outputs[0] !== undefined && 'base64' in waited.outputs[0] ? waited.outputs[0].base64 : ''),
    ).toEqual([5, 6, 7, 8]);
    // Kept although the client sent no such option.
    expect(await queue.getJobCountByTypes('completed')).toBe(2);
  });

  it('gives 300 jobs of two clients each its own answer', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker({ concurrency: 32 });
    await worker.hold();
    await startApi();
    const queues = [bareQueue('inference'), bareQueue('inference')];
    const jobs = await Promise.all(
      Array.from({ length: 300 }, (_, n) =>
        (queues[n % 2] ?? bareQueue('inference')).add('infer', request([n, -n, n / 2, 1])),
      ),
    );
    const [queue = bareQueue('inference')] = queues;
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('completed', 'failed')).toBe(300), {
      timeout: 25_000,
      interval: 100,
    });
    const results = await Promise.all(jobs.map((job) => resultOf(queue, job)));
    results.forEach(({ outputs: [y] }, n) => {
      expect(y !== undefined && 'base64' in y ? valuesOf(y.base64) : null).toEqual([n, -n, n / 2, 1]);
    });
  });

  it('reads blobs, deletes them after the answer, and answers large outputs as blobs that live 60 s', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.serveCold();
    await startApi();
    const queue = bareQueue('inference');
    const values = Array.from({ length: 100_000 }, (_, n) => n);
    const id = newId();
    const bytes = Buffer.from(new Float32Array(values).buffer);
    await fixture.redis.set(keys.blob(id), bytes, 'PX', 90_000);
    const data = {
      v: 1,
      model: MODEL,
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, values.length], blob: { id, bytes: bytes.byteLength } }],
    };
    const { outputs } = await resultOf(queue, await queue.add('infer', data));
    const [y] = outputs;
    if (y === undefined || !('blob' in y)) throw new Error('expected a blob');
    const blobs = new BlobStore(fixture.redis, fixture.redis, { limitBytes: 1 });
    expect((await blobs.get(y.blob))?.equals(bytes)).toBe(true);
    const ttlMs = await fixture.redis.pttl(keys.blob(y.blob.id));
    expect(ttlMs).toBeGreaterThan(50_000);
    expect(ttlMs).toBeLessThanOrEqual(60_000);
    await vi.waitFor(async () => expect(await fixture.redis.exists(keys.blob(id))).toBe(0));
  });

  it('fails a job whose tensor is gone, with a typed error', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.serveCold();
    await startApi();
    const queue = bareQueue('inference');
    const blob = { id: newId(), bytes: 16 };
    const job = await queue.add('infer', {
      v: 1,
      model: MODEL,
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], blob }],
    });
    expect(await failureOf(queue, job)).toMatchObject({ code: 'tensor-gone', retryable: true });
  });

  it.each<[string, string, unknown, string]>([
    ['another name', 'inferr', request([1]), "named 'infer'"],
    ['no data', 'infer', {}, 'v: '],
    ['a number', 'infer', 7, 'not a job of this queue'],
    ['another version of the form', 'infer', { ...request([1]), v: 2 }, 'v: '],
    ['an unknown field', 'infer', request([1], { modle: 'x' }), 'modle'],
    ['no inputs', 'infer', { v: 1, model: MODEL, inputs: [] }, 'inputs: '],
    [
      'an unknown datatype',
      'infer',
      { v: 1, model: MODEL, inputs: [{ name: 'x', datatype: 'FP31', shape: [1], base64: '' }] },
      'inputs.0.datatype',
    ],
    [
      'broken base64',
      'infer',
      { v: 1, model: MODEL, inputs: [{ name: 'x', datatype: 'FP32', shape: [1], base64: '*' }] },
      'inputs.0.base64',
    ],
    [
      'a bad blob id',
      'infer',
      { v: 1, model: MODEL, inputs: [{ name: 'x', datatype: 'FP32', shape: [1], blob: { id: '../etc', bytes: 4 } }] },
      'inputs.0.blob.id',
    ],
    ['a deadline of 0', 'infer', request([1], { deadlineMs: 0 }), 'deadlineMs'],
  ])('fails a job of another form at once and for good: %s', async (_what, name, data, named) => {
    await registerEcho(fixture.redis);
    await startApi();
    const queue = bareQueue('inference');
    const job = await queue.add(name, data, { attempts: 5 });
    const error = await failureOf(queue, job);
    expect(error).toMatchObject({ code: 'bad-request', retryable: false });
    expect(`${error.message} ${error.hint}`).toContain(named);
    expect((await queue.getJob(job.id ?? ''))?.attemptsMade).toBe(1);
  });

  it('fails what the model refuses, naming the input', async () => {
    await registerEcho(fixture.redis);
    await startApi();
    const queue = bareQueue('inference');
    const code = async (data: object) => (await failureOf(queue, await queue.add('infer', data))).code;
    expect(await code(request([1], { model: 'nobody' }))).toBe('unknown-model');
    expect(await code(request([1], { version: '9' }))).toBe('unknown-version');
    expect(await code(request([1], { outputs: ['z'] }))).toBe('bad-request');
    const wrong = await failureOf(
      queue,
      await queue.add('infer', { v: 1, model: MODEL, inputs: [{ ...inputs([1, 2])[0], shape: [1, 3] }] }),
    );
    expect(wrong).toMatchObject({ code: 'bad-request' });
    expect(wrong.message).toContain("input 'x'");
    const large = await failureOf(queue, await queue.add('infer', request(new Array<number>(20_000).fill(1))));
    expect(large).toMatchObject({ code: 'too-large' });
    expect(large.hint).toContain('blob');
  });

  it('fails with deadline-exceeded when nobody serves; tries again what may pass, if the producer asked for it', async () => {
    await registerEcho(fixture.redis);
    await startApi();
    const queue = bareQueue('inference');
    const late = await queue.add('infer', request([1], { deadlineMs: 300 }));
    expect(await failureOf(queue, late)).toMatchObject({ code: 'deadline-exceeded', retryable: true });
    let calls = 0;
    const worker = await startWorker({
      before: async () => {
        calls += 1;
        if (calls === 1) throw new Error('the first time it fails');
      },
    });
    await worker.serveCold();
    const tried = await queue.add('infer', request([1], { deadlineMs: 5_000 }), { attempts: 2 });
    // `internal` is not retryable: the job ends with it although another attempt was allowed.
    expect(await failureOf(queue, tried)).toMatchObject({ code: 'internal' });
    expect(calls).toBe(1);
  });

  it('killed: another one joins the request that is under way; it runs once and is answered once', async () => {
    await registerEcho(fixture.redis);
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const worker = await startWorker({ before: () => released });
    await worker.hold();
    const first = await startApi();
    const queue = bareQueue('inference');
    const job = await queue.add('infer', request([1, 2, 3, 4], { deadlineMs: 25_000 }));
    await vi.waitFor(() => expect(worker.runs).toHaveLength(1));
    await first.die();
    const second = await startApi();
    await vi.waitFor(async () => expect((await queue.getJob(job.id ?? ''))?.attemptsStarted).toBe(2), {
      timeout: 20_000,
      interval: 100,
    });
    release();
    const result = await resultOf(queue, job);
    expect(result.outputs[0]).toMatchObject({ base64: base64([1, 2, 3, 4]) });
    expect(worker.runs).toHaveLength(1);
    expect(second.redis.status).toBe('ready');
  }, 60_000);
});

describe('EntryDispatcher, what stays', () => {
  it('cuts the events that a bare client lets grow to 10,000', async () => {
    const queue = bareQueue('inference');
    await queue.waitUntilReady();
    const stream = '{wl}:inference:events';
    const adding = fixture.redis.pipeline();
    for (let n = 0; n < 3_000; n += 1) adding.xadd(stream, '*', 'event', 'completed', 'jobId', String(n));
    await adding.exec();
    await startApi({ sweepEveryMs: 20 });
    await vi.waitFor(async () => expect(await fixture.redis.xlen(stream)).toBeLessThanOrEqual(1_100), {
      timeout: 5_000,
    });
    // One that comes later sets its own bound as well.
    await bareQueue('inference').waitUntilReady();
    await vi.waitFor(async () =>
      expect(await fixture.redis.hget('{wl}:inference:meta', 'opts.maxLenEvents')).toBe('1000'),
    );
  });

  it('removes finished jobs that were kept long enough, though no other job ends any more', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.serveCold();
    await startApi({ sweepEveryMs: 20 });
    const queue = bareQueue('inference');
    const data = { v: 1, model: MODEL, inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1], base64: 'AAAAAA==' }] };
    const jobs = await queue.addBulk([
      { name: 'infer', data },
      { name: 'infer', data },
      { name: 'infer', data: { ...data, model: 'nobody' } },
      { name: 'infer', data: { ...data, model: 'nobody' } },
    ]);
    const counts = () => queue.getJobCounts('completed', 'failed');
    await vi.waitFor(async () => expect(await counts()).toEqual({ completed: 2, failed: 2 }), { timeout: 20_000 });
    // As if one of each had ended just longer ago than is kept: 60 s, and 1 h.
    for (const [n, state, ageMs] of [
      [0, 'completed', 61_000],
      [2, 'failed', 3_601_000],
    ] as const) {
      const id = jobs[n]?.id ?? '';
      const at = Date.now() - ageMs;
      await fixture.redis
        .multi()
        .hset(`{wl}:inference:${id}`, { finishedOn: at, timestamp: at })
        .zadd(`{wl}:inference:${state}`, at, id)
        .exec();
    }
    await vi.waitFor(async () => expect(await counts()).toEqual({ completed: 1, failed: 1 }), { timeout: 20_000 });
    const left = await Promise.all(jobs.map(async (job) => (await queue.getJob(job.id ?? '')) !== undefined));
    expect(left).toEqual([false, true, false, true]);
  });
});

describe('EntryDispatcher, warm-ups', () => {
  it('returns what the warm-up came to', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker();
    await worker.warmLanes(() => Promise.resolve('ready'));
    await startApi();
    const queue = bareQueue('warmup');
    const job = await queue.add('warm', { v: 1, model: MODEL, version: '1', shapes: [SHAPE, 'x:float32[1,8]'] });
    const view = (await ended(queue, job)).returnvalue as WarmupView;
    expect(view).toMatchObject({ state: 'ready', total: 2, ready: 2 });
  });

  it('fails a job of another form, and one that the model refuses', async () => {
    await registerEcho(fixture.redis);
    await startApi();
    const queue = bareQueue('warmup');
    const failure = async (name: string, data: object) => await failureOf(queue, await queue.add(name, data));
    const good = { v: 1, model: MODEL, version: '1', shapes: [SHAPE] };
    expect(await failure('infer', good)).toMatchObject({ code: 'bad-request' });
    expect(await failure('warm', { ...good, version: 1 })).toMatchObject({ code: 'bad-request' });
    expect(await failure('warm', { ...good, tuning: true })).toMatchObject({ code: 'bad-request' });
    expect(await failure('warm', { ...good, model: 'nobody' })).toMatchObject({ code: 'unknown-model' });
    expect(await failure('warm', { ...good, shapes: ['x:float32[1,2,3]'] })).toMatchObject({ code: 'bad-request' });
  });
});
