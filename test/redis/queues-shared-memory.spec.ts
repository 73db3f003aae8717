import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WarmlaneError } from '@warmlane/contracts';
import { Producer, type ProducerOptions } from '@warmlane/queues';
import { SharedMemory } from '@warmlane/shm';
import { expect, it } from 'vitest';
import { useRedis } from './redis-client.fixture.js';
import { MODEL, registerEcho, StandInWorker, tensor, valuesOf } from './stand-in-worker.fixture.js';

const fixture = useRedis();
const WIDTH = 20_000;

it('a request whose worker cannot read its slot after all is sent once more, through Redis', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'warmlane-producer-'));
  const memory = new SharedMemory({ dir, limitBytes: 2 ** 22 });
  await registerEcho(fixture.redis);
  const worker = await new StandInWorker(fixture.server.url, {
    proof: memory.nonce ?? '',
    before: async ({ inputs }) => {
      if (inputs.some(({ slot }) => slot !== undefined)) throw new WarmlaneError('tensor-gone', 'on another host');
    },
  }).start();
  await worker.hold(`x:float32[1,${WIDTH}]`);
  const ways: string[] = [];
  const onTensor: ProducerOptions['onTensor'] = ({ way, direction }) => void ways.push(`${way} ${direction}`);
  const [redis, blobRedis] = [fixture.connect('producer'), fixture.connect('blobs')];
  const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 30, memory, onTensor });
  await producer.start();
  try {
    for (const value of [1, 2]) {
      const { outputs } = await producer.infer({ model: MODEL, inputs: [tensor(Array(WIDTH).fill(value))] });
      expect(new Set(valuesOf(outputs[0] ?? { data: new Uint8Array() }))).toEqual(new Set([value]));
    }
    expect(ways).toEqual(['redis in', 'redis out', 'memory in', 'redis in', 'redis out']);
    expect(worker.runs.map(({ inputs }) => inputs[0]?.slot !== undefined)).toEqual([false, true, false]);
    expect(memory.inUse).toBe(0);
  } finally {
    await producer.close();
    await worker.stop();
    memory.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

it('a request that ends without its answer gives its slots back: taken out of the queue at once, begun with its answer', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'warmlane-producer-'));
  const memory = new SharedMemory({ dir, limitBytes: 2 ** 24 });
  await registerEcho(fixture.redis);
  let goOn = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const worker = await new StandInWorker(fixture.server.url, {
    proof: memory.nonce ?? '',
    concurrency: 1,
    before: async ({ inputs }) => {
      if (inputs.some(({ slot }) => slot !== undefined)) await held;
    },
  }).start();
  await worker.hold(`x:float32[1,${WIDTH}]`);
  const [redis, blobRedis] = [fixture.connect('producer'), fixture.connect('blobs')];
  const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 30, memory });
  await producer.start();
  const infer = (deadlineMs: number): Promise<unknown> =>
    producer.infer({ model: MODEL, inputs: [tensor(Array(WIDTH).fill(1))], deadlineMs });
  try {
    // Its answer proves that the worker reads slots.
    await infer(5_000);
    const begun = infer(1_500);
    begun.catch(() => undefined);
    await expect.poll(() => worker.runs.length).toBe(2);
    const waiting = Array.from({ length: 20 }, () => infer(300));
    expect(memory.inUse).toBeGreaterThan(0);
    const ends = await Promise.allSettled(waiting);
    expect(ends.filter(({ status }) => status === 'fulfilled')).toEqual([]);
    await expect.poll(() => memory.inUse, { interval: 20 }).toBe(1);
    await expect(begun).rejects.toMatchObject({ code: 'deadline-exceeded' });
    expect(memory.inUse).toBe(1);
    goOn();
    await expect.poll(() => memory.inUse, { interval: 20 }).toBe(0);
  } finally {
    goOn();
    await producer.close();
    await worker.stop();
    memory.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
