import { startRedis } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiProcess } from '../e2e/api-process.fixture.js';
import { DOUBLE, ECHOES } from '../e2e/fake-models.fixture.js';
import { FakeWorker } from '../e2e/fake-worker.fixture.js';
import { floats, json, type RawRequest, send, takeApart, tritonRequest } from '../e2e/protocol-client.fixture.js';
import { violations } from '../e2e/protocol-schemas.fixture.js';
import { SeededRandom, testSeed } from '../support/seeded-random.js';
import { mutate } from './mutate.fixture.js';

const ROUNDS = 1_500;
const SEED = testSeed();

let redis: Awaited<ReturnType<typeof startRedis>>;
let worker: FakeWorker;
let api: ApiProcess;

beforeAll(async () => {
  redis = await startRedis();
  worker = await FakeWorker.start(redis.url);
  await worker.serve(DOUBLE);
  for (const echo of ECHOES) await worker.serve(echo);
  api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
});
afterAll(async () => {
  await api?.stop('SIGKILL');
  await worker?.[Symbol.asyncDispose]();
  await redis?.stop();
});

const seeded = new SeededRandom(SEED);
const random = () => seeded.next();
const below = (limit: number) => seeded.below(limit);
const pick = <T>(values: readonly T[]): T => seeded.pick(values);

const bodies: (() => unknown)[] = [
  () => ({ id: '1', inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] }] }),
  () => ({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }],
    parameters: { binary_data_output: true },
  }),
  () => ({
    inputs: [{ name: 'x', datatype: 'INT64', shape: [2], data: [1, 2] }],
    outputs: [{ name: 'y', parameters: { binary_data: true } }],
  }),
];

function damaged(): RawRequest {
  let head = Buffer.from(JSON.stringify(random() < 0.9 ? mutate(seeded, pick(bodies)()) : pick(bodies)()));
  if (random() < 0.3) {
    head = Buffer.from(head);
    for (let edit = 0; edit < 1 + below(3); edit += 1) head[below(head.length)] = below(256);
  }
  const tail = pick([Buffer.alloc(0), floats(1, 2), floats(1), Buffer.alloc(below(40), 7)]);
  const length = pick([
    null,
    head.length,
    head.length,
    head.length - 1,
    head.length + tail.length,
    0,
    below(200),
    'abc',
    -1,
  ]);
  const headers: Record<string, string | number> = length === null ? {} : { 'Inference-Header-Content-Length': length };
  if (random() < 0.1) headers['content-encoding'] = pick(['gzip', 'deflate', 'br']);
  if (random() < 0.1) headers['warmlane-deadline-ms'] = pick(['5', '0', 'x', '5000']);
  if (random() < 0.1) headers['transfer-encoding'] = 'chunked';
  return { method: 'POST', headers, body: Buffer.concat([head, tail]) };
}

describe('damaged inference requests', () => {
  it(`get a typed answer or a right one, ${ROUNDS} times (seed ${SEED})`, async () => {
    const seen = new Map<number, number>();
    for (let round = 0; round < ROUNDS; round += 1) {
      const request = damaged();
      const model = pick(['double', 'double', 'echo-int64', 'echo-string', 'echo-float16']);
      const answer = await send(`${api.url}/v2/models/${model}/infer`, request);
      seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1);
      const shown = `${JSON.stringify(request.headers)} ${Buffer.from(request.body ?? '').toString('latin1')}`;
      if (answer.status === 200) {
        expect(takeApart(answer).head.model_name, shown).toBe(model);
        continue;
      }
      expect([400, 413, 501, 504], `${answer.body.toString()} for ${shown}`).toContain(answer.status);
      expect(answer.headers['content-type'], shown).toBe('application/json');
      expect(violations('error', json(answer)), shown).toBe('');
    }
    expect(seen.get(400)).toBeGreaterThan(100);
    expect(seen.get(200)).toBeGreaterThan(10);
    const whole = await send(
      `${api.url}/v2/models/double/infer`,
      tritonRequest([{ name: 'x', datatype: 'FP32', shape: [1, 2], data: floats(1, 2) }]),
    );
    expect(takeApart(whole).outputs.get('y')).toEqual(floats(2, 4));
    expect(api.lines.filter((line) => line.level === 'error')).toEqual([]);
  });
});
