import { afterEach, describe, expect, it } from 'vitest';
import { until, WorkerRig } from '../support/worker-rig.js';

const SHAPES = [1, 2, 3, 4, 5, 6].map((width) => `x:float32[1,3,48,${width * 32}]`);
const YAML = `shapes: [${SHAPES.map((shape) => `"${shape}"`).join(', ')}]\n`;

describe('several workers', () => {
  let rig: WorkerRig;
  afterEach(() => rig[Symbol.asyncDispose]());

  /** READY lanes as `worker shape`, once each shape has `replicas` of them on live workers and nothing else is left. */
  const placed = (replicas: number) =>
    until(
      `${replicas} lanes of each shape`,
      async () => {
        const lanes = (await rig.lanes.list()).filter((lane) => lane.state !== 'EVICTED' && lane.state !== 'STALE');
        const whole = SHAPES.every(
          (shape) => lanes.filter((lane) => lane.shapeKey === shape && lane.state === 'READY').length === replicas,
        );
        return whole && lanes.length === replicas * SHAPES.length ? lanes : null;
      },
      100_000,
    );

  it('share the plan, and take over what a worker leaves: never less than one lane of a shape meanwhile', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: YAML });
    const first = rig.startWorker();
    const alone = await placed(1);
    expect(new Set(alone.map((lane) => lane.worker)).size).toBe(1);
    const gaps: string[] = [];
    const watch = setInterval(() => {
      void rig.lanes.list().then((lanes) => {
        for (const shape of SHAPES) {
          const serving = lanes.filter((lane) => lane.shapeKey === shape && ['READY', 'SUSPECT'].includes(lane.state));
          if (serving.length === 0) gaps.push(shape);
        }
      });
    }, 25);
    const second = rig.startWorker();
    const shared = await until(
      'both workers to hold lanes',
      async () => {
        const lanes = await placed(1);
        return new Set(lanes.map((lane) => lane.worker)).size === 2 ? lanes : null;
      },
      100_000,
    );
    clearInterval(watch);
    expect(gaps).toEqual([]);
    const ids = [...new Set(shared.map((lane) => lane.worker))].sort();
    expect(ids.map((id) => id.slice(-6))).toEqual(['-cpu-0', '-cpu-1']);
    second.kill('SIGTERM');
    expect(await second.exited).toBe(0);
    const left = await placed(1);
    expect(new Set(left.map((lane) => lane.worker))).toEqual(new Set(alone.map((lane) => lane.worker)));
    expect(first.pid).toBeGreaterThan(0);
  });

  it('hold every lane twice with replicas: 2, and mark those of a killed worker STALE', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: `${YAML}replicas: 2\n` });
    rig.startWorker();
    const second = rig.startWorker();
    await placed(2);
    second.kill('SIGKILL');
    const stale = await until(
      'STALE lanes',
      async () => {
        const lanes = (await rig.lanes.list()).filter((lane) => lane.state === 'STALE');
        return lanes.length === SHAPES.length ? lanes : null;
      },
      40_000,
    );
    expect(new Set(stale.map((lane) => lane.trigger))).toEqual(new Set(['worker-gone']));
    expect(stale[0]?.reason).toMatch(/silent for 15 s/);
  });

  it('hold a lane back where it was evicted, also over a restart, until a warm-up names it', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: YAML });
    const worker = rig.startWorker();
    const [victim] = await placed(1);
    if (victim === undefined) throw new Error('no lane');
    expect(await rig.plans.hold('cls', '1', victim.shapeKey, victim.worker)).toBe(true);
    const evicted = await rig.laneIn(victim.shapeKey, 'EVICTED');
    expect(evicted).toMatchObject({ id: victim.id, trigger: 'evict' });
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    rig.startWorker();
    await until(
      'the other lanes',
      async () => (await rig.lanes.list({ state: 'READY' })).length === SHAPES.length - 1,
      100_000,
    );
    expect((await rig.lane(victim.shapeKey))?.state).toBe('EVICTED');
    await rig.warmups.create({
      model: 'cls',
      version: '1',
      shapes: [victim.shapeKey],
      replicas: null,
      priority: 5,
      options: {},
      tune: false,
      deadlineMs: 60_000,
    });
    expect(await rig.laneIn(victim.shapeKey, 'READY')).toMatchObject({ trigger: 'warmup' });
  });
});
