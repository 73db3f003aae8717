import { addSubModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';
import { ApiProcess } from './api-process.fixture.js';
import { type RawAnswer, send, takeApart, tritonRequest } from './protocol-client.fixture.js';

const KEY = 'INPUT0:int32[1,16];INPUT1:int32[1,16]';

function int32s(...values: number[]): Buffer {
  return Buffer.from(Int32Array.from(values).buffer);
}

describe('API, queue, worker and runtime together', () => {
  let system: ServingSystem;
  let api: ApiProcess;

  /** n + 1, sixteen times. */
  const addOne = (n: number, rows = 1, extra: Record<string, unknown> = {}): Promise<RawAnswer> =>
    send(
      `${api.url}/v2/models/add/versions/1/infer`,
      tritonRequest(
        [
          { name: 'INPUT0', datatype: 'INT32', shape: [rows, 16], data: int32s(...Array(rows * 16).fill(n)) },
          { name: 'INPUT1', datatype: 'INT32', shape: [rows, 16], data: int32s(...Array(rows * 16).fill(1)) },
        ],
        extra,
      ),
    );
  const sumOf = (answer: RawAnswer): number => takeApart(answer).outputs.get('OUTPUT0')?.readInt32LE(0) ?? Number.NaN;

  beforeAll(async () => {
    system = await ServingSystem.start({ add: { bytes: addSubModel(), yaml: `shapes: ["${KEY}"]\n` } });
    api = await ApiProcess.start({ WARMLANE_REDIS: system.server.url });
    system.startWorker();
    await system.untilReady(1);
  });

  afterAll(async () => {
    await api.stop('SIGKILL');
    await system[Symbol.asyncDispose]();
  });

  it('says what served a request, for which shape, and where its time went', async () => {
    const warm = await addOne(41);
    expect(sumOf(warm)).toBe(42);
    expect(warm.headers['warmlane-lane']).toBe('ready');
    expect(warm.headers['warmlane-shape']).toBe(KEY);
    expect(warm.headers['server-timing']).toMatch(/queue;dur=.*gather;dur=.*copy;dur=.*compute;dur=.*total;dur=/);
    const cold = await addOne(41, 3);
    expect(sumOf(cold)).toBe(42);
    expect(cold.headers['warmlane-lane']).toBe('cold');
  });

  it('answers 1,000 concurrent requests that all have the id "1", each with its own numbers', async () => {
    const answers = await Promise.all(Array.from({ length: 1_000 }, (_, n) => addOne(n, 1, { id: '1' })));
    expect(answers.map(sumOf)).toEqual(Array.from({ length: 1_000 }, (_, n) => n + 1));
    expect(new Set(answers.map((answer) => answer.headers['warmlane-lane']))).toEqual(new Set(['ready']));
  });

  it('answers every request while the worker that holds the lane is killed and another takes over', async () => {
    const [first] = system.workers;
    system.startWorker();
    await system.untilLive(2);
    const open: Promise<number>[] = [];
    const timer = setInterval(() => open.push(addOne(open.length).then(sumOf)), 20);
    await vi.waitFor(() => expect(open.length).toBeGreaterThan(50), { timeout: 10_000 });
    await first?.kill();
    const before = open.length;
    await vi.waitFor(() => expect(open.length).toBeGreaterThan(before + 100), { timeout: 30_000 });
    clearInterval(timer);
    expect(await Promise.all(open)).toEqual(Array.from({ length: open.length }, (_, n) => n + 1));
  });
});
