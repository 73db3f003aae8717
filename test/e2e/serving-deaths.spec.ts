import { type NamedTensor, newId, WarmlaneError } from '@warmlane/contracts';
import { createQueue, SERVING_SETTINGS } from '@warmlane/queues';
import { classQueueName, coldQueueName, keys, StatsStore, WorkerStore } from '@warmlane/redis';
import { addSubModel, bytesOf, loopModel } from '@warmlane/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ServingSystem, steady, type WorkerProcess } from '../support/serving-system.js';

const ADD = {
  bytes: addSubModel(),
  yaml: 'shapes: ["INPUT0:int32[1,16];INPUT1:int32[1,16]"]\n',
};
const ADD_KEY = 'INPUT0:int32[1,16];INPUT1:int32[1,16]';
const LOOP = { bytes: loopModel(), yaml: 'shapes: ["trips:int64[]"]\ninputs: { trips: { values: [2] } }\n' };

function trips(count: number): NamedTensor[] {
  return [{ name: 'trips', dtype: 'int64', dims: [], data: bytesOf(BigInt64Array.of(BigInt(count))) }];
}

describe('deaths under load', () => {
  let system: ServingSystem;

  afterEach(async () => {
    await system[Symbol.asyncDispose]();
  });

  it('loses nothing and answers nothing twice while the runtime is killed again and again', async () => {
    system = await ServingSystem.start({ add: ADD });
    const worker = system.startWorker();
    const [lane] = await system.untilReady(1);
    const firstEpoch = lane?.epoch ?? 0;
    const load = steady(system, 100);
    for (let kill = 1; kill <= 3; kill += 1) {
      const before = load.count();
      await vi.waitFor(() => expect(load.count()).toBeGreaterThan(before + 50), { timeout: 10_000 });
      await worker.killChild('runtime');
      await vi.waitFor(
        async () => {
          const [now] = await system.untilReady(1);
          expect(now?.epoch).toBeGreaterThanOrEqual(firstEpoch + kill);
        },
        { timeout: 30_000 },
      );
    }
    const outcomes = await load.end();
    expect(outcomes.filter(({ right }) => !right)).toEqual([]);
    expect(outcomes.filter(({ lane: by }) => by === 'ready').length).toBeGreaterThan(100);
    expect(worker.running).toBe(true);
    // One name per answer in the producer's stream: a request that ran twice was answered once.
    const names = (await system.redis.xrange(keys.replies(system.producer.id), '-', '+')).map(
      ([, fields]) => fields[1],
    );
    expect(names.length).toBe(outcomes.length);
    expect(new Set(names).size).toBe(names.length);
    // A kill from outside is charged to nobody.
    expect(await system.redis.keys('{wl}:deaths:*')).toEqual([]);
  });

  it('has a second worker adopt the queue within about a second of a worker being killed', async () => {
    system = await ServingSystem.start({ add: ADD });
    const workers = [system.startWorker()];
    const [lane] = await system.untilReady(1);
    workers.push(system.startWorker());
    await system.untilLive(2);
    const load = steady(system, 50);
    await vi.waitFor(() => expect(load.count()).toBeGreaterThan(50), { timeout: 10_000 });
    // Jobs that no producer repeats: only adoption brings them to an end.
    const holder = workers.find((one) => one.log.includes(`"worker":"${lane?.worker}"`)) ?? workers[0];
    await holder?.kill();
    const diedAt = performance.now();
    const queue = createQueue(classQueueName('add', '1', ADD_KEY), { redis: system.redis });
    const input = (name: string) => ({
      name,
      dtype: 'int32',
      dims: [1, 16],
      base64: Buffer.alloc(64).toString('base64'),
    });
    const [seconds, micros] = await system.redis.time();
    const now = Number(seconds) * 1_000 + Number(micros) / 1_000;
    const request = newId();
    await queue.add('infer', {
      v: 1,
      request,
      producer: 'nobody',
      model: 'add',
      version: '1',
      shapeKey: ADD_KEY,
      inputs: [input('INPUT0'), input('INPUT1')],
      outputs: ['OUTPUT0'],
      deadlineAt: now + 20_000,
      enqueuedAt: now,
      priority: 5,
      repeat: false,
    });
    await vi.waitFor(async () => expect(await system.redis.exists(`{wl}:reply:${request}`)).toBe(1), {
      timeout: 5_000,
      interval: 20,
    });
    expect(performance.now() - diedAt).toBeLessThan(2_500);
    await system.untilReady(1);
    const outcomes = await load.end();
    await queue.close();
    expect(outcomes.filter(({ right }) => !right)).toEqual([]);
    expect(Math.max(...outcomes.map(({ ms }) => ms))).toBeLessThan(SERVING_SETTINGS.lockDuration + 5_000);
  });

  it('repeats a request whose worker stands still, and none that only takes long', async () => {
    system = await ServingSystem.start({ loop: { bytes: loopModel() } });
    const docs = new WorkerStore(system.redis);
    const workers = new Map<string, WorkerProcess>();
    for (const count of [1, 2]) {
      const worker = system.startWorker();
      await system.untilLive(count);
      for (const { id } of await docs.list()) if (!workers.has(id)) workers.set(id, worker);
    }
    const stats = new StatsStore(system.redis);
    const executions = async (): Promise<number> => (await stats.get('loop', '1')).executionCount;
    const longer = { deadlineMs: 60_000 };

    // As long as it takes: a live worker may compute for longer than any lock or heartbeat lasts.
    const begun = performance.now();
    await system.infer('loop', trips(300), longer);
    const count = Math.ceil((300 * (SERVING_SETTINGS.lockDuration + 1_000)) / (performance.now() - begun));
    expect((await system.infer('loop', trips(count), longer)).lane).toBe('cold');
    await vi.waitFor(async () => expect(await executions()).toBe(2), { timeout: 5_000 });

    const queue = createQueue(coldQueueName('loop', '1'), { redis: system.redis, readOnly: true });
    const answer = system.infer('loop', trips(count), longer);
    const holder = await vi.waitFor(
      async () => {
        const [job] = await queue.getActive();
        const found = workers.get(job?.processedBy ?? '');
        if (found === undefined) throw new Error('nobody has it yet');
        return { id: job?.processedBy, process: found };
      },
      { timeout: 10_000 },
    );
    holder.process.child.kill('SIGSTOP');
    expect((await answer).worker).not.toBe(holder.id);
    expect((await answer).lane).toBe('cold');
    // Back again, it ends what it had begun, and nobody is answered twice.
    holder.process.child.kill('SIGCONT');
    await vi.waitFor(async () => expect(await executions()).toBe(4), { timeout: 30_000 });
    expect((await system.redis.xrange(keys.replies(system.producer.id), '-', '+')).length).toBe(3);
    await queue.close();
    await stats.close();
  }, 120_000);

  it('calls an input poison that ends two runtimes alone, and serves the others meanwhile', async () => {
    system = await ServingSystem.start({ add: ADD, loop: LOOP });
    system.startWorker({ WARMLANE_RUN_LIMIT_MS: '2000' });
    await system.untilReady(2);
    expect((await system.infer('loop', trips(3))).lane).toBe('ready');
    const load = steady(system, 20);
    // Days of work: each runtime that gets it is killed by its watchdog after 2 s.
    const poison = system.infer('loop', trips(2 ** 40), { deadlineMs: 60_000 });
    await expect(poison).rejects.toSatisfy((error) => error instanceof WarmlaneError && error.code === 'poison');
    expect((await system.infer('loop', trips(3), { deadlineMs: 30_000 })).outputs).toHaveLength(1);
    const outcomes = await load.end();
    expect(outcomes.filter(({ right }) => !right)).toEqual([]);
    await system.untilReady(2);
  });
});
