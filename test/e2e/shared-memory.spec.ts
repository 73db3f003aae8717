import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { WarmlaneClient } from '@warmlane/queues';
import { createRedis, PREFIX } from '@warmlane/redis';
import { identityModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';
import { ApiProcess } from './api-process.fixture.js';
import { type RawAnswer, send, takeApart, tritonRequest } from './protocol-client.fixture.js';

const MEGA = 250_000;
const waiting = { timeout: 90_000, interval: 100 };

/** Floats whose bytes tell which request they are of. */
function floats(count: number, seed: number): Buffer {
  return Buffer.from(Float32Array.from({ length: count }, (_, at) => ((at * 31 + seed) % 8191) - 4000).buffer);
}

async function copy(api: ApiProcess, count: number, seed: number): Promise<{ answer: RawAnswer; right: boolean }> {
  const data = floats(count, seed);
  const request = tritonRequest([{ name: 'x', datatype: 'FP32', shape: [count], data }]);
  const answer = await send(`${api.url}/v2/models/copy/versions/1/infer`, request);
  return { answer, right: answer.status === 200 && takeApart(answer).outputs.get('y')?.equals(data) === true };
}

/** How many large tensors went a way, by the API's own count. */
async function counted(api: ApiProcess, way: string, direction: string): Promise<number> {
  const text = await (await fetch(`${api.url}/metrics`)).text();
  const line = text
    .split('\n')
    .find(
      (one) => /^warmlane_large_tensors_total{/.test(one) && one.includes(`"${way}"`) && one.includes(`"${direction}"`),
    );
  return Number(line?.split(' ').at(-1) ?? 0);
}

describe('large tensors on one host', () => {
  let system: ServingSystem;
  let shm: string;
  let api: ApiProcess;
  const startApi = (dir: string): Promise<ApiProcess> =>
    ApiProcess.start({ WARMLANE_REDIS: system.server.url, WARMLANE_SHM_DIR: dir });
  const folders = (): Promise<string[]> => readdir(join(shm, `warmlane-${process.geteuid?.() ?? 0}`));

  beforeAll(async () => {
    system = await ServingSystem.start({
      copy: { bytes: identityModel('float32', ['N']), yaml: `shapes: ["x:float32[${MEGA}]"]\n` },
    });
    shm = join(system.root, 'shm');
    await mkdir(shm);
    api = await startApi(shm);
    system.startWorker({ WARMLANE_SHM_DIR: shm });
    await system.untilReady(1);
  });

  afterAll(async () => {
    await api.stop('SIGKILL');
    await system[Symbol.asyncDispose]();
  });

  it('go through shared memory both ways, on a lane and without one, once the worker has proven that it reads it', async () => {
    expect((await copy(api, MEGA, 0)).right).toBe(true);
    expect([await counted(api, 'redis', 'in'), await counted(api, 'memory', 'in')]).toEqual([1, 0]);
    const warm = await copy(api, MEGA, 1);
    expect([warm.right, warm.answer.headers['warmlane-lane']]).toEqual([true, 'ready']);
    const cold = await copy(api, 10 * MEGA, 2);
    expect([cold.right, cold.answer.headers['warmlane-lane']]).toEqual([true, 'cold']);
    expect([await counted(api, 'redis', 'in'), await counted(api, 'memory', 'in')]).toEqual([1, 2]);
    expect([await counted(api, 'redis', 'out'), await counted(api, 'memory', 'out')]).toEqual([0, 3]);
    const many = await Promise.all(Array.from({ length: 40 }, (_, n) => copy(api, MEGA, 100 + n)));
    expect(many.filter(({ right }) => !right)).toEqual([]);
    expect(await counted(api, 'redis', 'in')).toBe(1);
  });

  it("go through shared memory for another service's client that was told so, and leave nothing behind", async () => {
    const before = await folders();
    const redis = createRedis(system.server.url, { name: 'keys' });
    const client = await WarmlaneClient.connect({ redis: system.server.url, sharedMemory: { dir: shm } });
    try {
      expect((await folders()).length).toBe(before.length + 1);
      for (const seed of [7, 8, 9]) {
        const data = floats(MEGA, seed);
        const inputs = [{ name: 'x', dtype: 'float32' as const, dims: [MEGA], data }];
        const { outputs } = await client.infer({ model: 'copy', inputs });
        expect(data.equals(outputs[0]?.data ?? new Uint8Array())).toBe(true);
        const blobs = await redis.keys(`${PREFIX}:blob:*`);
        // The worker proves with its first answer that it reads this client's slots.
        if (seed > 7) expect(blobs).toEqual([]);
      }
    } finally {
      await client.close();
      redis.disconnect();
    }
    expect(await folders()).toEqual(before);
  });

  it.each([
    ['without a tmpfs', '/dev/null/none'],
    ['with a tmpfs of its own, as in another container', 'apart'],
  ])('go through Redis for an API %s', async (_what, dir) => {
    const own = dir.startsWith('/') ? dir : join(system.root, dir);
    if (!dir.startsWith('/')) await mkdir(own);
    await using other = await startApi(own);
    for (const [count, seed] of [
      [MEGA, 1],
      [MEGA, 2],
      [10 * MEGA, 3],
    ] as const) {
      expect((await copy(other, count, seed)).right).toBe(true);
    }
    expect([await counted(other, 'redis', 'in'), await counted(other, 'memory', 'in')]).toEqual([3, 0]);
    expect([await counted(other, 'redis', 'out'), await counted(other, 'memory', 'out')]).toEqual([3, 0]);
  });

  it('arrive right while runtime, worker and API are killed, and nothing of the dead stays', async () => {
    const answers: Promise<boolean>[] = [];
    const sendSome = (count: number): void => {
      for (let n = 0; n < count; n += 1)
        answers.push(copy(api, MEGA, 1_000 + answers.length).then(({ right }) => right));
    };
    sendSome(10);
    await system.workers[0]?.killChild('runtime');
    sendSome(10);
    expect(await Promise.all(answers)).toEqual(answers.map(() => true));
    sendSome(10);
    await system.workers[0]?.kill();
    system.startWorker({ WARMLANE_SHM_DIR: shm });
    expect(await Promise.all(answers)).toEqual(answers.map(() => true));
    const lost = copy(api, MEGA, 9).then(
      ({ right }) => right,
      () => 'cut off',
    );
    await api.stop('SIGKILL');
    expect([true, 'cut off']).toContain(await lost);
    api = await startApi(shm);
    await expect.poll(async () => (await copy(api, MEGA, 5)).right, waiting).toBe(true);
    // The API, the worker, its runtime.
    expect(await folders()).toHaveLength(3);
  });
});
