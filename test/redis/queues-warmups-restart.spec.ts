import { createRedis, PlanStore } from '@warmlane/redis';
import { startRedis } from '@warmlane/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { MODEL, registerEcho, StandInWorker } from './stand-in-worker.fixture.js';
import { coordinatorOver, SHAPES } from './warmups.fixture.js';

const closing: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

describe('WarmupCoordinator, Redis killed and restarted', () => {
  it('brings the warm-up under way to its end, for whoever watches it, and takes the next one', async () => {
    const server = await startRedis({ persistence: 'aof', args: ['--appendfsync', 'always'] });
    closing.push(() => server.stop());
    const connect = (name: string) => {
      const redis = createRedis(server.url, { name });
      closing.push(() => redis.disconnect());
      return redis;
    };
    const redis = connect('coordinator');
    await registerEcho(redis);
    const worker = await new StandInWorker(server.url, { id: 'a-0' }).start();
    closing.push(() => worker.stop());
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    await worker.warmLanes(async (job) => {
      if (job.shapeKey !== SHAPES[0]) await released;
      return 'ready';
    });
    const { coordinator, close } = await coordinatorOver(redis);
    closing.push(close);
    const request = { model: MODEL, version: '1', shapes: SHAPES.slice(0, 3) };
    const { id } = await coordinator.create(request);
    const ended = coordinator.finished(id, AbortSignal.timeout(50_000));
    await vi.waitFor(async () => expect(await coordinator.view(id)).toMatchObject({ state: 'running', ready: 1 }), {
      timeout: 20_000,
    });

    await server.kill();
    // Asked while Redis is away: it waits, and is the same warm-up.
    const again = coordinator.create(request);
    await server.restart();
    expect((await again).id).toBe(id);
    release();
    expect(await ended).toMatchObject({ id, state: 'ready', total: 3, ready: 3, failed: 0 });
    expect(await coordinator.view(id)).toEqual(await ended);
    const plan = await new PlanStore(redis).entries(MODEL, '1');
    expect(plan.map((entry) => entry.shapeKey)).toEqual(SHAPES.slice(0, 3));

    const next = await coordinator.create({ ...request, shapes: SHAPES.slice(3) });
    expect(next.id).not.toBe(id);
    expect(await coordinator.finished(next.id, AbortSignal.timeout(20_000))).toMatchObject({
      state: 'ready',
      ready: 1,
    });
  }, 90_000);
});
