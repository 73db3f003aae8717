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
