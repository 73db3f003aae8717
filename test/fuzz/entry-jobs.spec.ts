import { isErrorCode, parseErrorBody } from '@warmlane/contracts';
import { startRedis } from '@warmlane/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EntryQueue } from '../chaos/entry-queue.fixture.js';
import { ApiProcess } from '../e2e/api-process.fixture.js';
import { DOUBLE } from '../e2e/fake-models.fixture.js';
import { FakeWorker } from '../e2e/fake-worker.fixture.js';
import { floats } from '../e2e/protocol-client.fixture.js';
import { SeededRandom, testSeed } from '../support/seeded-random.js';
import { mutate } from './mutate.fixture.js';

const ROUNDS = 300;
const AT_ONCE = 10;
const SEED = testSeed();
const random = new SeededRandom(SEED);
/** Over the longest deadline of a job that is not refused. */
const END_MS = 60_000;

let server: Awaited<ReturnType<typeof startRedis>>;
let redis: Redis;
let worker: FakeWorker;
let api: ApiProcess;

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url, { maxRetriesPerRequest: null });
  worker = await FakeWorker.start(server.url);
  await worker.serve(DOUBLE);
  api = await ApiProcess.start({ WARMLANE_REDIS: server.url });
});
afterAll(async () => {
  redis?.disconnect();
  await api?.stop('SIGKILL');
  await worker?.[Symbol.asyncDispose]();
  await server?.stop();
});

const INFER = {
  v: 1,
  model: 'double',
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], base64: floats(1, 2).toString('base64') }],
  deadlineMs: 20_000,
};
const INFER_BLOB = {
  v: 1,
  model: 'double',
  version: '1',
  inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], blob: { id: '0'.repeat(32), bytes: 8 } }],
  outputs: ['y'],
  priority: 5,
  deadlineMs: 2_000,
};
const WARM = { v: 1, model: 'double', version: '1', shapes: ['x:float32[1,2]'], replicas: 1, deadlineMs: 2_000 };

/** A job of any JSON value. The deadline is put back where it was taken away: the default of a warm-up is minutes long. */
function damage(whole: { deadlineMs: number }): object {
  const data = Object(mutate(random, whole)) as object;
  return Array.isArray(data) || 'deadlineMs' in data ? data : { ...data, deadlineMs: whole.deadlineMs };
}

describe('damaged jobs of the entry queues', () => {
  it(`end with a typed error or a right answer, ${ROUNDS} times (seed ${SEED})`, async () => {
    const infers = new EntryQueue('inference', redis);
    const warms = new EntryQueue('warmup', redis);
    const counts = new Map<string, number>();
    const one = async (): Promise<void> => {
      const warm = random.next() < 0.3;
      const queue = warm ? warms : infers;
      const data = damage(warm ? WARM : random.pick([INFER, INFER_BLOB]));
      const name = random.next() < 0.05 ? random.pick(['', 'x', 'warm', 'infer']) : warm ? 'warm' : 'infer';
      const end = await queue.end(await queue.add(name, data), END_MS);
      counts.set(end.state, (counts.get(end.state) ?? 0) + 1);
      const shown = `${name} ${JSON.stringify(data)} ${JSON.stringify(end)}`;
      expect(end.state, shown).not.toBe('lost');
      if (end.state === 'failed') {
        const code = parseErrorBody(end.reason)?.code ?? '';
        expect(isErrorCode(code) && code !== 'internal', shown).toBe(true);
      }
      if (end.state === 'completed' && !warm) {
        expect(end.value, shown).toMatchObject({ outputs: [{ name: 'y', base64: floats(2, 4).toString('base64') }] });
      }
    };
    for (let round = 0; round < ROUNDS; round += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, one));
    const whole = await infers.end(await infers.add('infer', INFER), END_MS);
    expect(whole).toMatchObject({ state: 'completed' });
    expect(counts.get('failed')).toBeGreaterThan(ROUNDS / 4);
    expect([...infers.endedAgain(), ...warms.endedAgain()]).toEqual([]);
    expect(api.lines.filter((line) => line.level === 'error')).toEqual([]);
    infers.close();
    warms.close();
  });
});
