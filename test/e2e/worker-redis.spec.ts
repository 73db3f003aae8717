import { afterEach, describe, expect, it } from 'vitest';
import { ramp, until, WorkerRig } from '../support/worker-rig.js';

const SHAPE = 'x:float32[1,3,48,192]';

describe('a worker and its Redis', () => {
  let rig: WorkerRig;
  afterEach(() => rig[Symbol.asyncDispose]());

  it('writes everything again that Redis lost: models, plan, records, itself', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    rig.startWorker();
    const before = await rig.laneIn(SHAPE, 'READY');
    await rig.redis.flushall();
    const after = await rig.laneIn(SHAPE, 'READY');
    expect(after).toMatchObject({
      id: before.id,
      epoch: before.epoch,
      // Of the same creation: it was not made anew. It may have been measured again meanwhile, now that it is quiet.
      record: { firstMs: before.record?.firstMs, createMs: before.record?.createMs },
    });
    await until('the model', async () => (await rig.models.get('cls', '1'))?.state === 'LOADED');
    expect(await until('the plan', async () => (await rig.plans.entries('cls', '1'))[0] ?? null)).toMatchObject({
      shapeKey: SHAPE,
      declared: true,
    });
    const producer = await rig.producer();
    const answer = await until('a ready answer', async () => {
      const one = await producer.infer({ model: 'cls', inputs: [ramp('x', [1, 3, 48, 192])] }).catch(() => null);
      return one?.lane === 'ready' ? one : null;
    });
    expect(answer.worker).toBe(before.worker);
  });

  it('keeps its lanes through a restart of Redis', async () => {
    rig = await WorkerRig.start({ persistence: 'aof' });
    await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    rig.startWorker();
    const before = await rig.laneIn(SHAPE, 'READY');
    await rig.server.restart();
    const producer = await rig.producer();
    const answer = await until('a ready answer', async () => {
      const one = await producer.infer({ model: 'cls', inputs: [ramp('x', [1, 3, 48, 192])] }).catch(() => null);
      return one?.lane === 'ready' ? one : null;
    });
    expect(answer.worker).toBe(before.worker);
    expect(await rig.lane(SHAPE)).toMatchObject({
      id: before.id,
      epoch: before.epoch,
      state: 'READY',
      since: before.since,
    });
  });

  it('ends within 20 s with exit 0 while Redis is away, and leaves no child behind', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    const worker = rig.startWorker();
    await rig.laneIn(SHAPE, 'READY');
    const children = (
      await Promise.all(['runtime', 'reference', 'fallback'].map((role) => worker.children(role)))
    ).flat();
    await rig.server.kill();
    const asked = performance.now();
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    expect(performance.now() - asked).toBeLessThan(20_000);
    for (const pid of children) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    await rig.server.restart();
  });

  it('ends with exit 0 and without an error where Redis was never there', async () => {
    rig = await WorkerRig.start();
    const worker = rig.startWorker({ WARMLANE_REDIS: 'redis://127.0.0.1:1' });
    await until('the outage', () => Promise.resolve(worker.log.includes('"level":"warn"')));
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    expect(worker.log).not.toContain('"level":"error"');
  });

  it('ends within 20 s while Redis stands still', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    const worker = rig.startWorker();
    await rig.laneIn(SHAPE, 'READY');
    rig.server.pause();
    const asked = performance.now();
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    expect(performance.now() - asked).toBeLessThan(20_000);
    rig.server.resume();
  });

  it('puts a lane back that was given up while it was silent, after one verified run', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    const worker = rig.startWorker();
    const before = await rig.laneIn(SHAPE, 'READY');
    worker.kill('SIGSTOP');
    await until('its silence', async () => (await rig.redis.exists(`{wl}:present:${before.worker}`)) === 0, 30_000);
    expect(await rig.lanes.markStale(before.worker, 'silent')).toHaveLength(1);
    worker.kill('SIGCONT');
    const after = await rig.laneIn(SHAPE, 'READY');
    expect(after).toMatchObject({ id: before.id, epoch: before.epoch });
  });
});
