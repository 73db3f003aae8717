import { model } from '@warmlane/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { ramp, until, WorkerRig } from '../support/worker-rig.js';

const SHAPE = 'x:float32[1,3,48,192]';

describe('a worker and its device', () => {
  let rig: WorkerRig;
  afterEach(() => rig[Symbol.asyncDispose]());

  it('is device-unhealthy after five deaths that nobody outside caused: the fallback serves', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    const worker = rig.startWorker();
    await rig.laneIn(SHAPE, 'READY');
    let last = 0;
    for (let death = 0; death < 5; death += 1) {
      last = await until('another runtime', async () => {
        const [pid] = await worker.children('runtime');
        return pid !== undefined && pid !== last ? pid : null;
      });
      process.kill(last, 'SIGSEGV');
      await until('its end', async () => !(await worker.children('runtime')).includes(last));
    }
    const doc = await until('device-unhealthy', async () => {
      const [found] = await rig.workers.list();
      return found?.state === 'device-unhealthy' ? found : null;
    });
    expect(doc.reason).toMatch(/ended five times within 60 s, last: SIGSEGV/);
    await until('no lane', async () =>
      (await rig.lanes.list({ model: 'cls' })).every((lane) => lane.state === 'EVICTED'),
    );
    const producer = await rig.producer();
    const answer = await producer.infer({ model: 'cls', inputs: [ramp('x', [1, 3, 48, 192])] });
    expect(answer.lane).toBe('cold');
  });

  it('holds as many lanes as the budget takes, says what the others lack, and makes them when memory is given back', async () => {
    rig = await WorkerRig.start();
    const shapes = [1, 2, 3, 4, 5].map((batch) => `x:float32[${batch},3,48,192]`);
    await rig.addModel('cls', {
      yaml: `shapes: [${shapes.map((shape) => `"${shape}"`).join(', ')}]\nrequired: false\n`,
    });
    rig.startWorker({ WARMLANE_GPU_MEMORY: '6MiB' });
    const settled = await until(
      'every lane to be READY or FAILED',
      async () => {
        const lanes = await rig.lanes.list({ model: 'cls' });
        return lanes.length === 5 && lanes.every(({ state }) => state === 'READY' || state === 'FAILED') ? lanes : null;
      },
      100_000,
    );
    const ready = settled.filter((lane) => lane.state === 'READY');
    const failed = settled.filter((lane) => lane.state === 'FAILED');
    expect(ready.length).toBeGreaterThan(0);
    expect(failed.length).toBeGreaterThan(0);
    expect(failed[0]?.reason).toMatch(
      /^memory: the lane needs .* MiB, .* of 6\.0 MiB are left beside a reserve of .* raise --gpu-memory/,
    );
    const held = ready.reduce((sum, lane) => sum + (lane.record?.memoryBytes ?? 0), 0);
    expect(held).toBeLessThanOrEqual(6 * 2 ** 20);
    const worker = await rig.worker();
    expect(worker.memory).toEqual({ budget: 6 * 2 ** 20, used: held });
    for (const lane of ready) await rig.plans.hold('cls', '1', lane.shapeKey, lane.worker);
    await until('a lane that lacked memory', async () => {
      const now = await rig.lanes.list({ state: 'READY' });
      return now.some((lane) => failed.some((one) => one.id === lane.id));
    });
  });

  it('lives on where the machine refuses memory: that lane is tried again, the others serve', async () => {
    rig = await WorkerRig.start();
    // On the way to y, x times its transpose: 2^46 floats for 2^23, more than any address space has.
    const outer = model({
      name: 'outer',
      nodes: [
        { op: 'Transpose', inputs: ['x'], outputs: ['t'], attributes: { perm: { ints: [1, 0] } } },
        { op: 'MatMul', inputs: ['x', 't'], outputs: ['p'] },
        { op: 'ReduceMax', inputs: ['p'], outputs: ['y'], attributes: { axes: { ints: [1] } } },
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 1] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 1] }],
    });
    const [huge, small] = [`x:float32[${2 ** 23},1]`, 'x:float32[4,1]'];
    await rig.addModel('outer', { bytes: outer, yaml: `shapes: ["${huge}", "${small}"]\nrequired: false\n` });
    const process = rig.startWorker();
    const ready = await rig.laneIn(small, 'READY');
    const [runtime] = await process.children('runtime');
    let lane = await rig.lane(huge);
    const again = await until(
      () => `the lane to be tried again; it is ${lane?.state} (${lane?.reason})`,
      async () => {
        lane = await rig.lane(huge);
        return lane?.state === 'QUEUED' && lane.reason !== '' ? lane : null;
      },
    );
    expect(again.reason).toMatch(/^tried again: .*281474976710656/);
    const producer = await rig.producer();
    const answer = await producer.infer({ model: 'outer', inputs: [ramp('x', [4, 1])] });
    expect(answer.lane).toBe('ready');
    expect(await process.children('runtime')).toEqual([runtime]);
    expect((await rig.lane(small))?.epoch).toBe(ready.epoch);
  });

  it('ends a lane that no plan holds any more when it is asked to', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    rig.startWorker();
    const lane = await rig.laneIn(SHAPE, 'READY');
    await rig.plans.remove('cls', '1', SHAPE);
    expect(await rig.plans.hold('cls', '1', SHAPE, lane.worker)).toBe(false);
    await rig.lanes.requestEvict(lane.id, lane.worker);
    expect(await rig.laneIn(SHAPE, 'EVICTED')).toMatchObject({ id: lane.id, trigger: 'evict' });
  });
});
