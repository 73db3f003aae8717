import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { floatsOf, ramp, until, type WorkerProcess, WorkerRig } from '../support/worker-rig.js';

const SHAPE = 'x:float32[1,3,48,192]';

describe('a worker with the cls model', () => {
  let rig: WorkerRig;
  let worker: WorkerProcess;

  beforeAll(async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    worker = rig.startWorker();
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  it('registers it and has its lane READY with a record that the reference proves', async () => {
    const lane = await rig.laneIn(SHAPE, 'READY');
    expect(lane).toMatchObject({ model: 'cls', version: '1', epoch: 1, trigger: 'plan', reason: '' });
    const { record } = lane;
    expect(record).toMatchObject({
      tolerance: 1e-4,
      inputs: 'guessed',
      samples: 2,
      revisit: 'shapes',
      captureMs: null,
    });
    expect(record?.relativeError).toBeLessThan(1e-4);
    expect(record?.relativeError).toBeGreaterThan(0);
    expect(record?.placement).toEqual({ CPUExecutionProvider: expect.any(Number) });
    expect(record?.memoryBytes).toBeGreaterThan(100_000);
    expect(record?.steadyP99Ms).toBeGreaterThanOrEqual(record?.steadyP50Ms ?? Number.POSITIVE_INFINITY);
    const doc = await rig.models.get('cls', '1');
    expect(doc).toMatchObject({ state: 'LOADED', reason: '' });
    expect(doc?.digest).toMatch(/^[0-9a-f]{64}$/);
    expect(doc?.metadata?.inputs).toEqual([
      { name: 'x', dtype: 'float32', dims: [expect.anything(), 3, expect.anything(), expect.anything()] },
    ]);
    await until('the version to be marked ready', async () => (await rig.models.get('cls', '1'))?.wasReady ?? false);
    const doc2 = await rig.worker();
    expect(doc2).toMatchObject({ provider: 'cpu', device: 'cpu', epoch: 1, models: ['cls/1'], pid: worker.pid });
    expect(doc2.id).toMatch(/^[A-Za-z0-9._-]+-cpu-0$/);
  });

  it('serves the lane, and another shape cold', async () => {
    const producer = await rig.producer();
    const ready = await producer.infer({ model: 'cls', inputs: [ramp('x', [1, 3, 48, 192])] });
    expect(ready.lane).toBe('ready');
    expect(ready.outputs[0]).toMatchObject({ dtype: 'float32', dims: [1, 2] });
    const cold = await producer.infer({ model: 'cls', inputs: [ramp('x', [2, 3, 48, 64])] });
    expect(cold.lane).toBe('cold');
    expect(cold.outputs[0]).toMatchObject({ dims: [2, 2] });
  });

  it('survives kill -9 of the runtime: a new epoch, the same lane READY again, answers meanwhile', async () => {
    const before = await rig.laneIn(SHAPE, 'READY');
    const [runtime] = await worker.children('runtime');
    expect(runtime).toBeGreaterThan(0);
    process.kill(runtime ?? 0, 'SIGKILL');
    const producer = await rig.producer();
    const meanwhile = await producer.infer({ model: 'cls', inputs: [ramp('x', [1, 3, 48, 192])] });
    expect(meanwhile.outputs[0]).toMatchObject({ dims: [1, 2] });
    const after = await until('the lane in the next epoch', async () => {
      const lane = await rig.lane(SHAPE);
      return lane?.state === 'READY' && lane.epoch === 2 ? lane : null;
    });
    expect(after).toMatchObject({ id: before.id, trigger: 'restart' });
    expect(after.record?.verifiedAt).not.toBe(before.record?.verifiedAt);
    const again = await producer.infer({ model: 'cls', inputs: [ramp('x', [1, 3, 48, 192])] });
    expect(again.lane).toBe('ready');
    const [got, expected] = [again, meanwhile].map((answer) => floatsOf(answer.outputs[0]));
    got?.forEach((value, at) => {
      expect(value).toBeCloseTo(expected?.[at] ?? Number.NaN, 4);
    });
    expect(got).toHaveLength(2);
  });

  it('drains at SIGTERM: lanes EVICTED, children gone, exit 0', async () => {
    const children = (
      await Promise.all(['runtime', 'reference', 'fallback'].map((role) => worker.children(role)))
    ).flat();
    expect(children).toHaveLength(3);
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    expect(await rig.lane(SHAPE)).toMatchObject({ state: 'EVICTED', trigger: 'shutdown' });
    for (const pid of children) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
    expect(await rig.workers.list()).toEqual([]);
  });
});
