import { newId } from '@warmlane/contracts';
import { Queue, QueueEvents } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useApi } from './api.fixture.js';
import { DOUBLE, ECHOES } from './fake-models.fixture.js';
import { floats } from './protocol-client.fixture.js';

const fixture = useApi(async (worker) => {
  await worker.serve(DOUBLE);
  for (const echo of ECHOES) await worker.serve(echo);
});

interface Result {
  v: number;
  lane: string;
  shapeKey: string;
  timing: Record<string, number>;
  outputs: { name: string; datatype: string; shape: number[]; base64?: string; blob?: { id: string; bytes: number } }[];
}

let queue: Queue;
let events: QueueEvents;

beforeAll(async () => {
  const connection = { host: '127.0.0.1', port: fixture.redis.port };
  queue = new Queue('inference', { connection, prefix: '{wl}' });
  events = new QueueEvents('inference', { connection, prefix: '{wl}' });
  await events.waitUntilReady();
});
afterAll(async () => {
  await events?.close();
  await queue?.close();
});

const x = { name: 'x', datatype: 'FP32', shape: [1, 2] };

async function run(data: unknown): Promise<Result> {
  const job = await queue.add('infer', data);
  return (await job.waitUntilFinished(events, 20_000)) as Result;
}

async function failure(data: unknown, name = 'infer'): Promise<{ code: string; message: string }> {
  const job = await queue.add(name, data, { attempts: 5, backoff: 60_000 });
  const reason = await job.waitUntilFinished(events, 20_000).then(
    () => 'it succeeded',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  expect(await job.getState()).toBe('failed');
  return JSON.parse(reason) as { code: string; message: string };
}

describe('a bare BullMQ client', () => {
  it('gets its inference answered inline', async () => {
    const result = await run({ v: 1, model: 'double', inputs: [{ ...x, base64: floats(1, 2).toString('base64') }] });
    expect(result).toMatchObject({ v: 1, lane: 'cold', shapeKey: 'x:float32[1,2]' });
    expect(Object.keys(result.timing).sort()).toEqual(['computeMs', 'copyMs', 'gatherMs', 'queueMs', 'totalMs']);
    expect(result.outputs).toEqual([
      { name: 'y', datatype: 'FP32', shape: [1, 2], base64: floats(2, 4).toString('base64') },
    ]);
  });

  it('sends and gets large tensors as blobs in pieces of 1 MiB', async () => {
    const bytes = Buffer.alloc(2_500_000, 3);
    const id = newId();
    for (let piece = 0; piece * 2 ** 20 < bytes.byteLength; piece += 1) {
      await fixture.worker.redis.set(
        `{wl}:blob:${id}:${piece}`,
        bytes.subarray(piece * 2 ** 20, (piece + 1) * 2 ** 20),
        'PX',
        90_000,
      );
    }
    const inputs = [{ name: 'x', datatype: 'UINT8', shape: [bytes.byteLength], blob: { id, bytes: bytes.byteLength } }];
    const { outputs } = await run({ v: 1, model: 'echo-uint8', version: '1', inputs });
    const blob = outputs[0]?.blob;
    expect(blob?.bytes).toBe(bytes.byteLength);
    const pieces = await Promise.all(
      [0, 1, 2].map((piece) => fixture.worker.redis.getBuffer(`{wl}:blob:${blob?.id}:${piece}`)),
    );
    expect(Buffer.concat(pieces.map((piece) => piece ?? Buffer.alloc(0))).equals(bytes)).toBe(true);
    await expect.poll(() => fixture.worker.redis.exists(`{wl}:blob:${id}:0`)).toBe(0);
  });

  it.each<[string, unknown, string, RegExp]>([
    ['not of our form', { hello: 1 }, 'bad-request', /./],
    ['of another version', { v: 2, model: 'double', inputs: [] }, 'bad-request', /v/],
    [
      'of an unknown model',
      { v: 1, model: 'nobody', inputs: [{ ...x, base64: '' }] },
      'unknown-model',
      /unknown model 'nobody'/,
    ],
    [
      'with too few bytes',
      { v: 1, model: 'double', inputs: [{ ...x, base64: 'AAAA' }] },
      'bad-request',
      /input 'x': got 3 bytes, expected 8/,
    ],
  ])('fails at once, without another attempt, for a job %s', async (_, data, code, message) => {
    const error = await failure(data);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  it('fails a job of another name', async () => {
    expect((await failure({ v: 1 }, 'guess')).code).toBe('bad-request');
  });

  it('says that a tensor is gone', async () => {
    const inputs = [{ ...x, blob: { id: newId(), bytes: 8 } }];
    const job = await queue.add('infer', { v: 1, model: 'double', inputs });
    const reason = await job.waitUntilFinished(events, 20_000).then(
      () => '',
      (error: unknown) => String(error),
    );
    expect(reason).toContain('tensor-gone');
  });
});
