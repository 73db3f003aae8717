import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { addSubModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';
import { ApiProcess } from './api-process.fixture.js';
import { json, type RawAnswer, send, takeApart, tritonRequest } from './protocol-client.fixture.js';

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
  const loading = (name: string): Promise<RawAnswer> =>
    send(`${api.url}/v2/repository/models/${name}/load`, { method: 'POST' });
  const sumOf = (answer: RawAnswer): number => takeApart(answer).outputs.get('OUTPUT0')?.readInt32LE(0) ?? Number.NaN;

  beforeAll(async () => {
    system = await ServingSystem.start({ add: { bytes: addSubModel(), yaml: `shapes: ["${KEY}"]\n` } });
    api = await ApiProcess.start({ WARMLANE_REDIS: system.server.url });
  });

  afterAll(async () => {
    await api.stop('SIGKILL');
    await system[Symbol.asyncDispose]();
  });

  it('says that no worker is there yet, and serves once one has registered the model', async () => {
    const early = await addOne(1);
    expect([early.status, early.headers['warmlane-error']]).toEqual([503, 'not-ready']);
    expect(Number(early.headers['retry-after'])).toBeGreaterThan(0);
    const load = await loading('add');
    expect([load.status, load.headers['warmlane-error']]).toEqual([503, 'not-ready']);
    expect(String(json(load).error)).toMatch(/^no live worker is there to load model 'add'\. Start a worker/);
    expect((await send(`${api.url}/health/ready`)).status).toBe(503);
    system.startWorker();
    await expect.poll(async () => (await addOne(1)).status, { timeout: 60_000, interval: 100 }).toBe(200);
    await system.untilReady(1);
  });

  it('loads at once what has not changed, and does not find at once what is not there', async () => {
    const startedAt = performance.now();
    expect((await loading('add')).status).toBe(200);
    const unknown = await loading('nobody');
    expect([unknown.status, unknown.headers['warmlane-error']]).toEqual([404, 'unknown-model']);
    // By waiting it was 2 s and 10 s.
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  it('loads a model that was put into the repository, and says what ONNX Runtime has against one', async () => {
    const put = async (name: string, bytes: Uint8Array): Promise<void> => {
      const folder = join(system.root, 'models', name, '1');
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, 'model.onnx'), bytes);
    };
    await put('later', addSubModel());
    await put('empty', new Uint8Array(0));
    await put('text', Buffer.from('this is no model'));
    expect((await loading('later')).status).toBe(200);
    expect((await send(`${api.url}/v2/models/later/ready`)).status).toBe(200);
    for (const [name, words] of [
      ['empty', 'ModelProto does not have a graph'],
      ['text', 'Protobuf parsing failed'],
    ] as const) {
      const load = await loading(name);
      expect([load.status, load.headers['warmlane-error']]).toEqual([400, 'bad-request']);
      expect(String(json(load).error)).toContain(words);
      const infer = await send(`${api.url}/v2/models/${name}/infer`, tritonRequest([]));
      expect([infer.status, infer.headers['warmlane-error']]).toEqual([503, 'not-ready']);
      expect(String(json(infer).error)).toMatch(new RegExp(`Version 1 is FAILED: .*${words}`));
      const index = json(await send(`${api.url}/v1/models/${name}/versions/1`));
      expect(index).toMatchObject({ state: 'FAILED', reason: expect.stringContaining(words) });
    }
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
