import { type WarmupView, warmupViewSchema } from '@warmlane/contracts';
import { placeLane } from '@warmlane/lanes';
import { WarmupCoordinator } from '@warmlane/queues';
import { keys, Liveness, PREFIX } from '@warmlane/redis';
import { reshapeModel } from '@warmlane/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until, WorkerRig } from '../support/worker-rig.js';

const PLANNED = 'x:float32[1,3,48,192]';
const MORE = ['x:float32[1,3,48,96]', 'x:float32[2,3,48,96]'];

describe('warm-ups on a worker', () => {
  let rig: WorkerRig;
  let liveness: Liveness;
  let coordinator: WarmupCoordinator;

  beforeEach(async () => {
    rig = await WorkerRig.start();
    liveness = new Liveness(rig.redis);
    const { redis, notices } = rig;
    coordinator = new WarmupCoordinator({ redis, liveness, notices, place: placeLane });
    await coordinator.start();
  });
  afterEach(async () => {
    await coordinator.close();
    liveness.close();
    await rig[Symbol.asyncDispose]();
  });

  const finished = (id: string): Promise<WarmupView> =>
    until('the warm-up to end', async () => {
      const view = warmupViewSchema.parse(await coordinator.view(id));
      return ['ready', 'partial', 'failed', 'canceled'].includes(view.state) ? view : null;
    });
  const request = (model: string, shapes: string[]) => ({ v: 1 as const, model, version: '1', shapes });

  it('add shapes to the plan and end ready, with the lanes that serve', async () => {
    await rig.addModel('cls', { yaml: `shapes: ["${PLANNED}"]\n` });
    rig.startWorker();
    const { worker } = await rig.laneIn(PLANNED, 'READY');
    // So that it can be found when the worker is gone, also where nobody ever asked for a warm-up.
    await until('its warm-up queue to be noted', () => rig.redis.zscore(keys.warmLaneQueues(), worker));
    const { id } = await coordinator.create(request('cls', MORE));
    const view = await finished(id);
    expect(view).toMatchObject({ state: 'ready', total: 2, ready: 2, failed: 0 });
    expect(view.lanes.map((lane) => lane.state)).toEqual(['READY', 'READY']);
    expect(await rig.lane(MORE[0] ?? '')).toMatchObject({ state: 'READY', trigger: 'warmup' });
    expect(await rig.redis.hget(`${PREFIX}:warm-lane.${worker}:meta`, 'opts.maxLenEvents')).toBe('100');
  });

  it('end partial where the graph refuses one shape', async () => {
    await rig.addModel('reshape', { bytes: reshapeModel() });
    rig.startWorker();
    await until('the model', () => rig.models.get('reshape', '1'));
    const { id } = await coordinator.create(request('reshape', ['x:float32[2,6]', 'x:float32[5,1]']));
    const view = await finished(id);
    expect(view).toMatchObject({ state: 'partial', ready: 1, failed: 1 });
    expect(view.lanes[1]).toMatchObject({ shapeKey: 'x:float32[5,1]', state: 'FAILED' });
    expect(view.lanes[1]?.reason).toMatch(/reshape/i);
  });

  it('make a lane anew with other options, the old one serving until its successor is READY', async () => {
    await rig.addModel('cls', { yaml: `shapes: ["${PLANNED}"]\n` });
    rig.startWorker();
    const before = await rig.laneIn(PLANNED, 'READY');
    const { id } = await coordinator.create({
      ...request('cls', [PLANNED]),
      options: { intra_op_num_threads: 1 },
    });
    expect((await finished(id)).state).toBe('ready');
    const lanes = await rig.lanes.list({ shapeKey: PLANNED });
    const successor = lanes.find((lane) => lane.id !== before.id);
    expect(successor).toMatchObject({ state: 'READY', trigger: 'warmup' });
    expect(successor?.record?.optionsParsed).toMatchObject({ intra_op_num_threads: '1' });
    await until('the old lane to leave', async () => (await rig.lanes.get(before.id))?.state === 'EVICTED');
  });

  it('canceled: what is not READY ends, READY lanes stay', async () => {
    await rig.addModel('cls', { yaml: '' });
    rig.startWorker();
    await until('the model', () => rig.models.get('cls', '1'));
    const shapes = [1, 2, 3, 4, 5, 6].map((batch) => `x:float32[${batch},3,48,192]`);
    const { id } = await coordinator.create(request('cls', shapes));
    await until('the first lane', async () => (await rig.lanes.list({ state: 'READY' })).length > 0);
    const view = await coordinator.cancel(id);
    expect(view.state).toBe('canceled');
    await until('the rest to end', async () => {
      const lanes = await rig.lanes.list({ model: 'cls' });
      return lanes.every((lane) => lane.state === 'READY' || lane.state === 'EVICTED');
    });
    expect(await rig.plans.entries('cls', '1')).toEqual([]);
    const [kept] = await rig.lanes.list({ state: 'READY' });
    expect(kept).toBeDefined();
    await rig.lanes.requestVerify(kept?.id ?? '', kept?.worker ?? '');
    const verified = await until('it to be verified again', async () => {
      const lane = await rig.lanes.get(kept?.id ?? '');
      return lane?.state === 'READY' && lane.trigger === 'verify' ? lane : null;
    });
    expect(verified.record?.verifiedAt).not.toBe(kept?.record?.verifiedAt);
  });
});
