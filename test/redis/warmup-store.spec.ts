import type { WarmupDoc, WarmupView } from '@warmlane/contracts';
import { keys, PlanStore, type WarmupRequest, WarmupStore } from '@warmlane/redis';
import { describe, expect, it } from 'vitest';
import { X, Y, Z } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis();
const store = (): WarmupStore => new WarmupStore(fixture.redis);
const plan = (): PlanStore => new PlanStore(fixture.redis);
const request = (over: Partial<WarmupRequest> = {}): WarmupRequest => ({
  model: 'rec',
  version: '1',
  shapes: [X, Y],
  replicas: null,
  priority: 5,
  options: {},
  tune: false,
  deadlineMs: 600_000,
  ...over,
});
const view = (doc: WarmupDoc, state: WarmupView['state']): WarmupView => ({
  id: doc.id,
  model: doc.model,
  version: doc.version,
  state,
  reason: '',
  total: doc.shapes.length,
  ready: 0,
  failed: 0,
  lanes: [],
});
const declare = (...shapes: string[]): Promise<boolean> =>
  plan().setDeclared(
    'rec',
    '1',
    shapes.map((shapeKey) => ({ shapeKey, replicas: 1, priority: 5, required: true })),
  );
const shapesOf = async (): Promise<string[]> => (await plan().entries('rec', '1')).map((entry) => entry.shapeKey);

describe('WarmupStore', () => {
  it('20 identical requests at once are one warm-up', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, () => store().create(request())));
    expect(made.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(made.map(({ doc }) => doc.id)).size).toBe(1);
    expect(await store().unfinished()).toEqual([made[0]?.doc.id]);
    expect((await plan().entries('rec', '1')).map(({ warmups }) => warmups.length)).toEqual([1, 1]);
    expect(await plan().revision('rec', '1')).toBe(1);
  });

  it('every difference makes another warm-up', async () => {
    const requests = [
      request(),
      request({ model: 'det' }),
      request({ version: '2' }),
      request({ shapes: [X] }),
      request({ replicas: 2 }),
      request({ priority: 0 }),
      request({ options: { a: 1 } }),
      request({ deadlineMs: 1_000 }),
    ];
    const made = await Promise.all(requests.map((one) => store().create(one)));
    expect(made.every(({ created }) => created)).toBe(true);
    const again = await store().create(request({ options: { a: 1 } }));
    expect(again.created).toBe(false);
  });

  it('gives back what was asked, and which shapes are new to the plan', async () => {
    await declare(X);
    const [seconds] = await fixture.redis.time();
    const { doc } = await store().create(request({ replicas: 3, priority: 1, options: { use_tf32: 0 } }));
    expect(doc).toMatchObject({
      model: 'rec',
      version: '1',
      shapes: [X, Y],
      added: [Y],
      replicas: 3,
      priority: 1,
      generation: 0,
      assignments: [],
      canceled: false,
      final: null,
    });
    expect(doc.deadlineAt / 1_000 - Number(seconds)).toBeCloseTo(600, -1);
    expect(await store().get(doc.id)).toEqual(doc);
    expect(await store().get('unknown')).toBeNull();
    expect(await plan().entries('rec', '1')).toMatchObject([
      { shapeKey: X, declared: true, required: true, replicas: 3, priority: 1, options: { use_tf32: 0 } },
      { shapeKey: Y, declared: false, required: false, replicas: 3, warmups: [doc.id] },
    ]);
  });

  it('lets go of what is held back, of its own shapes only', async () => {
    await declare(X, Y, Z);
    for (const shape of [X, Z]) for (const worker of ['w-0', 'w-1']) await plan().hold('rec', '1', shape, worker);
    await store().create(request());
    expect((await plan().entries('rec', '1')).map(({ held }) => held)).toEqual([[], [], ['w-0', 'w-1']]);
  });

  it('one of two planners gets a generation; a late one gets none', async () => {
    const { doc } = await store().create(request());
    const assign = (generation: number, worker: string) =>
      store().assign(doc.id, generation, [{ shapeKey: X, worker }]);
    expect(await assign(2, 'w-0')).toBe(false);
    const both = await Promise.all([assign(1, 'w-0'), assign(1, 'w-1')]);
    expect(both).toEqual([true, false]);
    expect(await assign(1, 'w-0')).toBe(true);
    expect(await assign(2, 'w-1')).toBe(true);
    expect(await assign(1, 'w-0')).toBe(false);
    expect(await store().get(doc.id)).toMatchObject({ generation: 2, assignments: [{ shapeKey: X, worker: 'w-1' }] });
    expect(await store().assign('unknown', 1, [])).toBe(false);
  });

  it('finishes once, keeps its shapes in the plan, and lets the same request start anew', async () => {
    const { doc } = await store().create(request());
    const done = await Promise.all(
      Array.from({ length: 10 }, (_, n) => store().finish(doc.id, view(doc, n === 0 ? 'ready' : 'failed'))),
    );
    expect(done).toEqual([true, ...Array.from({ length: 9 }, () => false)]);
    expect((await store().get(doc.id))?.final?.state).toBe('ready');
    expect(await store().unfinished()).toEqual([]);
    expect(await fixture.redis.pttl(keys.warmUp(doc.id))).toBeLessThanOrEqual(86_400_000);
    expect(await shapesOf()).toEqual([X, Y]);
    expect(await store().assign(doc.id, 1, [])).toBe(false);
    expect(await store().cancel(doc.id)).toBeNull();
    const again = await store().create(request());
    expect(again.created).toBe(true);
    expect(again.doc.added).toEqual([]);
  });

  it('a hundred finished warm-ups leave one field per shape behind', async () => {
    for (let n = 0; n < 100; n += 1) {
      const { doc } = await store().create(request());
      await store().finish(doc.id, view(doc, 'ready'));
    }
    expect(Object.keys(await fixture.redis.hgetall(keys.plan('rec', '1'))).sort()).toEqual([
      `k ${X}`,
      `k ${Y}`,
      'revision',
    ]);
  });

  it('a cancellation takes out only what nothing else names', async () => {
    await declare(X);
    const first = await store().create(request({ shapes: [X, Y, Z] }));
    const second = await store().create(request({ shapes: [Z] }));
    await plan().hold('rec', '1', Y, 'w-0');
    expect(await store().cancel(first.doc.id)).toEqual([Y]);
    expect(await store().cancel(first.doc.id)).toBeNull();
    expect(await store().cancel('unknown')).toBeNull();
    expect(await shapesOf()).toEqual([X, Z]);
    expect(await store().assign(first.doc.id, 1, [])).toBe(false);
    expect(await store().get(first.doc.id)).toMatchObject({ canceled: true, final: null });
    expect(await store().unfinished()).toContain(first.doc.id);
    // The same request is a new warm-up at once, not when somebody has reported on the canceled one.
    expect((await store().create(request({ shapes: [X, Y, Z] }))).created).toBe(true);
    expect(await store().finish(first.doc.id, view(first.doc, 'canceled'))).toBe(true);
    expect(await store().cancel(second.doc.id)).toEqual([]);
    expect(await shapesOf()).toEqual([X, Y, Z]);
  });

  it('a shape of a finished warm-up stays when a later one that names it is canceled', async () => {
    const first = await store().create(request({ shapes: [Y] }));
    await store().finish(first.doc.id, view(first.doc, 'ready'));
    const second = await store().create(request({ shapes: [Y], priority: 0 }));
    expect((await plan().entries('rec', '1'))[0]).toMatchObject({ priority: 0 });
    expect(await store().cancel(second.doc.id)).toEqual([]);
    expect((await plan().entries('rec', '1'))[0]).toMatchObject({ shapeKey: Y, priority: 5 });
  });

  it('a shape removed meanwhile does not come back when its warm-up ends', async () => {
    const { doc } = await store().create(request());
    await plan().remove('rec', '1', X);
    await store().finish(doc.id, view(doc, 'partial'));
    expect(await shapesOf()).toEqual([Y]);
  });

  it('a warm-up that expired leaves the unfinished ones, and its digest does not stand in the way', async () => {
    const { doc } = await store().create(request());
    await fixture.redis.del(keys.warmUp(doc.id));
    const again = await store().create(request());
    expect(again.created).toBe(true);
    expect(await store().unfinished()).toEqual([again.doc.id]);
  });
});
