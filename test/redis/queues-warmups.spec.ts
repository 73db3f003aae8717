import { WarmlaneError, type WarmupView } from '@warmlane/contracts';
import { placeLane } from '@warmlane/lanes';
import { createQueue } from '@warmlane/queues';
import { LaneStore, PlanStore, warmLaneQueueName } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { MODEL, registerEcho } from './stand-in-worker.fixture.js';
import { finished, never, ready, request, SHAPES, useWarmups } from './warmups.fixture.js';

const { redisOf: fixture, startCoordinator, startWorker, parentCounts } = useWarmups();

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof WarmlaneError)) throw new Error(`expected a WarmlaneError, got ${String(error)}`);
  return error.code;
}

describe('WarmupCoordinator', () => {
  it('spreads the shapes over the workers, reports each change, and ends ready', async () => {
    await registerEcho(fixture.redis);
    const workers = await Promise.all([startWorker('a-0'), startWorker('b-0')]);
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    for (const worker of workers) {
      await worker.warmLanes(async (job) => {
        if (job.shapeKey === SHAPES[3]) await released;
        return 'ready';
      });
    }
    const coordinator = await startCoordinator();
    const created = await coordinator.create(request());
    expect(created).toMatchObject({ model: MODEL, version: '1', total: 4, ready: 0, failed: 0, state: 'queued' });
    expect(created.id).toMatch(/^[0-9a-f]{32}$/);
    const seen: WarmupView[] = [];
    for await (const view of coordinator.watch(created.id, AbortSignal.timeout(25_000))) {
      seen.push(view);
      if (view.ready === 3) release();
    }
    expect(seen.map((view) => view.state)).toContain('running');
    expect(seen.at(-1)).toMatchObject({ state: 'ready', reason: '', total: 4, ready: 4, failed: 0 });
    for (const lane of seen.at(-1)?.lanes ?? []) {
      const place = placeLane({ model: MODEL, version: '1', shapeClass: lane.shapeKey }, 1, ['a-0', 'b-0']);
      expect(lane).toMatchObject({ state: 'READY', worker: place[0] });
    }
    expect(await coordinator.view(created.id)).toEqual(seen.at(-1));
    const plan = await new PlanStore(fixture.redis).entries(MODEL, '1');
    expect(plan.map((entry) => entry.shapeKey)).toEqual(SHAPES);
  });

  it('asks one worker for all batch sizes of a shape', async () => {
    await registerEcho(fixture.redis, '1', { batch: { sizes: [1, 2, 4] } });
    for (const id of ['a-0', 'b-0']) await (await startWorker(id)).warmLanes(ready);
    const coordinator = await startCoordinator();
    const widths = Array.from({ length: 8 }, (_, at) => at + 1);
    const shapes = widths.flatMap((width) => [1, 2, 4].map((size) => `x:float32[${size},${width}]`));
    const { id } = await coordinator.create(request({ shapes }));
    const { lanes, state } = await finished(coordinator, id);
    expect(state).toBe('ready');
    const workersOf = widths.map((width) => [
      ...new Set(lanes.filter((lane) => lane.shapeKey.endsWith(`,${width}]`)).map((lane) => lane.worker)),
    ]);
    for (const workers of workersOf) expect(workers).toHaveLength(1);
    expect(new Set(workersOf.flat())).toEqual(new Set(['a-0', 'b-0']));
  });

  it('stays queued while no worker lives, and goes on as soon as one does', async () => {
    await registerEcho(fixture.redis);
    const coordinator = await startCoordinator();
    const { id } = await coordinator.create(request());
    await vi.waitFor(async () => {
      expect(await coordinator.view(id)).toMatchObject({ state: 'queued', reason: 'no worker' });
    });
    expect((await coordinator.view(id)).lanes[0]).toMatchObject({ worker: null, state: 'QUEUED', reason: 'no worker' });
    const worker = await startWorker('a-0');
    await worker.warmLanes(ready);
    expect(await finished(coordinator, id)).toMatchObject({ state: 'ready', ready: 4 });
  });

  it('is one warm-up for the same request while it is unfinished, from any process, and run once', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker('a-0');
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    await worker.warmLanes(async () => {
      await released;
      return 'ready';
    });
    const coordinators = await Promise.all([startCoordinator(), startCoordinator(), startCoordinator()]);
    const [first] = coordinators;
    if (first === undefined) throw new Error('no coordinator');
    const created = await Promise.all(
      Array.from({ length: 20 }, (_, n) => (coordinators[n % 3] ?? first).create(request())),
    );
    expect(new Set(created.map((view) => view.id)).size).toBe(1);
    const id = created[0]?.id ?? '';
    await vi.waitFor(() => expect(worker.warmed).toHaveLength(4));
    release();
    expect(await finished(first, id)).toMatchObject({ state: 'ready', total: 4 });
    expect(worker.warmed.map((job) => job.shapeKey).sort()).toEqual(SHAPES);
    const again = await first.create(request());
    expect(again.id).not.toBe(id);
    expect(await finished(first, again.id)).toMatchObject({ state: 'ready' });
  });

  it('ends partial or failed with each lane’s reason', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker('a-0');
    await worker.warmLanes(async ({ shapeKey }) =>
      shapeKey === SHAPES[1] ? new WarmlaneError('bad-request', 'the graph refuses 2') : 'ready',
    );
    const coordinator = await startCoordinator();
    const some = await finished(coordinator, (await coordinator.create(request())).id);
    expect(some).toMatchObject({ state: 'partial', total: 4, ready: 3, failed: 1 });
    expect(some.lanes[1]).toEqual({
      shapeKey: SHAPES[1],
      worker: 'a-0',
      state: 'FAILED',
      reason: 'the graph refuses 2',
    });
    const none = await finished(coordinator, (await coordinator.create(request({ shapes: [SHAPES[1]] }))).id);
    expect(none).toMatchObject({ state: 'failed', total: 1, ready: 0, failed: 1 });
  });

  it('believes lanes, not jobs: children that completed without their lane are planned again', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker('a-0');
    let lies = 2;
    await worker.warmLanes(async () => {
      lies -= 1;
      return lies >= 0 ? 'lie' : 'ready';
    });
    const coordinator = await startCoordinator();
    expect(await finished(coordinator, (await coordinator.create(request())).id)).toMatchObject({ ready: 4 });
    expect(worker.warmed.length).toBe(6);
  });

  it('plans again what somebody drained: BullMQ completes a parent with children missing', async () => {
    await registerEcho(fixture.redis);
    const other = await startWorker('b-0');
    const coordinator = await startCoordinator();
    const shapes = [5, 6, 7, 8, 9, 10].map((width) => `x:float32[1,${width}]`);
    const { id } = await coordinator.create(request({ shapes }));
    const queue = createQueue(warmLaneQueueName('b-0'), { redis: fixture.redis });
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('prioritized')).toBeGreaterThan(0));
    await queue.drain();
    await queue.close();
    await other.warmLanes(ready);
    expect(await finished(coordinator, id)).toMatchObject({ state: 'ready', total: 6, ready: 6 });
  });

  it('ends at its deadline with what there is; the plan keeps the shapes', async () => {
    await registerEcho(fixture.redis);
    const worker = await startWorker('a-0');
    await worker.warmLanes(({ shapeKey }) => (shapeKey === SHAPES[0] ? ready() : never()));
    const coordinator = await startCoordinator();
    const view = await finished(coordinator, (await coordinator.create(request({ deadlineMs: 1_500 }))).id);
    expect(view).toMatchObject({ state: 'partial', total: 4, ready: 1, reason: 'its deadline has passed' });
    expect(await new PlanStore(fixture.redis).entries(MODEL, '1')).toHaveLength(4);
    const nobody = await finished(
      coordinator,
      (await coordinator.create(request({ shapes: ['x:float32[1,9]'], deadlineMs: 300 }))).id,
    );
    expect(nobody).toMatchObject({ state: 'failed', ready: 0, total: 1 });
  });

  it('asks for more workers than there are: what is there is warmed, the rest waits for one that joins', async () => {
    await registerEcho(fixture.redis);
    const first = await startWorker('a-0');
    await first.warmLanes(ready);
    const coordinator = await startCoordinator();
    const { id, total } = await coordinator.create(request({ shapes: SHAPES.slice(0, 2), replicas: 2 }));
    expect(total).toBe(4);
    await vi.waitFor(async () => expect((await coordinator.view(id)).ready).toBe(2));
    expect((await coordinator.view(id)).lanes[3]).toMatchObject({ worker: null, reason: 'no worker' });
    const second = await startWorker('b-0');
    await second.warmLanes(ready);
    const view = await finished(coordinator, id);
    expect(view).toMatchObject({ state: 'ready', total: 4, ready: 4 });
    expect(view.lanes.map((lane) => lane.worker).sort()).toEqual(['a-0', 'a-0', 'b-0', 'b-0']);
  });

  it('cancels: waiting children go, running ones end, ready lanes stay', async () => {
    await registerEcho(fixture.redis);
    await new PlanStore(fixture.redis).setDeclared(MODEL, '1', [
      { shapeKey: SHAPES[1] ?? '', replicas: 1, priority: 5, required: true },
    ]);
    const worker = await startWorker('a-0');
    const ends: (() => void)[] = [];
    await worker.warmLanes(async ({ shapeKey }) => {
      if (shapeKey === SHAPES[0]) return 'ready';
      return await new Promise<Error>((resolve) => ends.push(() => resolve(new WarmlaneError('canceled', 'canceled'))));
    });
    const coordinator = await startCoordinator();
    const { id } = await coordinator.create(request());
    await vi.waitFor(async () => expect((await coordinator.view(id)).ready).toBe(1));
    await vi.waitFor(() => expect(ends).toHaveLength(3));
    const view = await coordinator.cancel(id);
    expect(view).toMatchObject({ state: 'canceled', total: 4, ready: 1 });
    for (const end of ends) end();
    const plan = await new PlanStore(fixture.redis).entries(MODEL, '1');
    expect(plan.map((entry) => entry.shapeKey)).toEqual([SHAPES[1]]);
    expect(await new LaneStore(fixture.redis).list({ state: 'READY' })).toHaveLength(1);
    await vi.waitFor(async () => expect((await parentCounts())['waiting-children']).toBe(0));
    expect(await coordinator.cancel(id)).toEqual(view);
    const again = await coordinator.create(request());
    expect(again.id).not.toBe(id);
  });

  it('refuses a request as a whole', async () => {
    await registerEcho(fixture.redis);
    const coordinator = await startCoordinator();
    const refuse = (more: object) => codeOf(coordinator.create(request(more)));
    expect(await refuse({ model: 'nobody' })).toBe('unknown-model');
    expect(await refuse({ version: '9' })).toBe('unknown-version');
    expect(await refuse({ shapes: [SHAPES[0], 'x:float32[1,2,3]'] })).toBe('bad-request');
    expect(await refuse({ shapes: [SHAPES[0], 'z:float32[1,2]'] })).toBe('bad-request');
    expect(await refuse({ shapes: ['x:float32[1, 2]'] })).toBe('bad-request');
    expect(await refuse({ shapes: ['x:float32[1,-2]'] })).toBe('bad-request');
    expect(await refuse({ shapes: [] })).toBe('bad-request');
    expect(await refuse({ shapes: 'plan' })).toBe('bad-request');
    expect(await refuse({ replicas: 0 })).toBe('bad-request');
    expect(await refuse({ priority: 10 })).toBe('bad-request');
    expect(await refuse({ deadlineMs: 0 })).toBe('bad-request');
    expect(await refuse({ options: { cudnn_conv_algo_serach: 'HEURISTIC' } })).toBe('bad-request');
    expect(await new PlanStore(fixture.redis).entries(MODEL, '1')).toEqual([]);
    expect(await codeOf(coordinator.view('0'.repeat(32)))).toBe('not-found');
    expect(await codeOf(coordinator.cancel('0'.repeat(32)))).toBe('not-found');
  });

  it('takes the plan as it is', async () => {
    await registerEcho(fixture.redis);
    await new PlanStore(fixture.redis).setDeclared(
      MODEL,
      '1',
      SHAPES.map((shapeKey) => ({ shapeKey, replicas: 1, priority: 5, required: true })),
    );
    const worker = await startWorker('a-0');
    await worker.warmLanes(ready);
    const coordinator = await startCoordinator();
    const { id } = await coordinator.create(request({ shapes: 'plan' }));
    expect(await finished(coordinator, id)).toMatchObject({ state: 'ready', total: 4 });
  });
});
