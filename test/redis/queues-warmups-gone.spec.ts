import { WarmupStore, WorkerStore } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { MODEL, registerEcho } from './stand-in-worker.fixture.js';
import { finished, never, ready, request, SHAPES, useWarmups } from './warmups.fixture.js';

const { redisOf: fixture, startCoordinator, startWorker, parentCounts } = useWarmups();

// In a file of its own: these tests wait until workers count as gone.
describe('WarmupCoordinator', () => {
  it.each([
    ['left in order', true],
    ['is gone', false],
  ])(
    'gives the shapes of a worker that %s to the others',
    async (_how, inOrder) => {
      await registerEcho(fixture.redis);
      const [stays, leaves] = [await startWorker('a-0'), await startWorker('b-0')];
      await stays.warmLanes(ready);
      await leaves.warmLanes(never);
      const coordinator = await startCoordinator();
      const shapes = [1, 2, 3, 4, 5, 6, 7, 8].map((width) => `x:float32[1,${width}]`);
      const { id } = await coordinator.create(request({ shapes }));
      await vi.waitFor(() => expect(leaves.warmed.length).toBeGreaterThan(0));
      await leaves.die();
      if (inOrder) await new WorkerStore(fixture.redis).remove('b-0');
      const view = await finished(coordinator, id);
      expect(view).toMatchObject({ state: 'ready', total: 8, ready: 8 });
      expect(new Set(view.lanes.map((lane) => lane.worker))).toEqual(new Set(['a-0']));
      // The flow of the first generation ends as well: its children are failed for the worker that cannot, the one that it ran
      // once its lock of 10 s is over.
      await vi.waitFor(async () => expect((await parentCounts())['waiting-children']).toBe(0), {
        timeout: 20_000,
        interval: 200,
      });
    },
    80_000,
  );

  it('goes on when the process that planned it dies, also between the plan and its flow', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker('a-0');
    const store = new WarmupStore(fixture.redis);
    const { doc } = await store.create({
      model: MODEL,
      version: '1',
      shapes: SHAPES.slice(0, 2),
      replicas: null,
      priority: 5,
      options: {},
      tune: false,
      deadlineMs: 20_000,
    });
    // What a process that died right here leaves behind: a generation without a flow.
    const assignments = doc.shapes.map((shapeKey) => ({ shapeKey, worker: 'a-0' }));
    expect(await store.assign(doc.id, 1, assignments)).toBe(true);
    await worker.warmLanes(ready);
    const first = await startCoordinator();
    expect(await finished(first, doc.id)).toMatchObject({ state: 'ready', ready: 2 });

    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = await startWorker('b-0');
    await slow.warmLanes(async () => {
      await released;
      return 'ready';
    });
    await new WorkerStore(fixture.redis).remove('a-0');
    await worker.die();
    const second = await startCoordinator();
    const { id } = await first.create(request());
    await vi.waitFor(() => expect(slow.warmed.length).toBeGreaterThan(0), { timeout: 5_000 });
    await first.close();
    release();
    expect(await finished(second, id)).toMatchObject({ state: 'ready', total: 4 });
  });
});
