import { afterEach, describe, expect, it } from 'vitest';
import { until, type WorkerProcess, WorkerRig } from '../support/worker-rig.js';

const VICTIM = 'x:float32[1,3,48,96]';
const OTHER = 'x:float32[1,3,48,192]';

describe('a runtime that dies in a step of a lane', () => {
  let rig: WorkerRig;
  afterEach(() => rig[Symbol.asyncDispose]());

  /** Freezes the runtime before the lane's first step, so that the step stays open, then kills it. */
  async function killInStep(worker: WorkerProcess): Promise<void> {
    const runtime = await until('the runtime', async () => (await worker.children('runtime'))[0] ?? null);
    await until('the worker', async () => (await rig.workers.list()).length > 0);
    process.kill(runtime, 'SIGSTOP');
    await rig.step(VICTIM, 'create');
    process.kill(runtime, 'SIGKILL');
  }

  it('has the lane tried in a disposable process, then made again; the others go on', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('a-first', { yaml: `shapes: ["${VICTIM}"]\n` });
    await rig.addModel('cls', { yaml: `shapes: ["${OTHER}"]\n` });
    const worker = rig.startWorker();
    await killInStep(worker);
    const queued = await until('the lane back in the queue', async () => {
      const lane = await rig.lane(VICTIM);
      return lane?.epoch === 2 && lane.state === 'QUEUED' ? lane : null;
    });
    expect(queued.reason).toMatch(/ended in its step: .*SIGKILL.*; tried next in a disposable one/);
    await until('a disposable process', async () => (await worker.children('trial')).length > 0);
    await rig.laneIn(OTHER, 'READY');
    const ready = await rig.laneIn(VICTIM, 'READY', 100_000);
    expect(ready).toMatchObject({ epoch: 2, reason: '' });
  });

  it('quarantines a lane whose second process dies too, also over a restart, until a warm-up names it', {
    timeout: 180_000,
  }, async () => {
    rig = await WorkerRig.start();
    await rig.addModel('a-first', { yaml: `shapes: ["${VICTIM}"]\n` });
    await rig.addModel('cls', { yaml: `shapes: ["${OTHER}"]\n` });
    const worker = rig.startWorker();
    await killInStep(worker);
    const trial = await until('a disposable process', async () => (await worker.children('trial'))[0] ?? null);
    await until('a step in it', async () => {
      const [doc] = await rig.workers.list();
      const steps = doc === undefined ? [] : await rig.workers.getSteps(doc.id);
      return steps.some((step) => step.shapeKey === VICTIM && step.epoch === 2);
    });
    process.kill(trial, 'SIGKILL');
    const failed = await rig.laneIn(VICTIM, 'FAILED');
    expect(failed.reason).toMatch(
      /^quarantined in this environment: its steps ended two processes, last a disposable runtime: /,
    );
    await rig.laneIn(OTHER, 'READY');

    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    rig.startWorker();
    await until('the quarantined lane of the new worker', async () => {
      const lane = await rig.lane(VICTIM);
      return lane?.state === 'FAILED' && lane.epoch > 2 && lane.reason.startsWith('quarantined');
    });
    const { doc } = await rig.warmups.create({
      model: 'a-first',
      version: '1',
      shapes: [VICTIM],
      replicas: null,
      priority: 5,
      options: {},
      tune: false,
      deadlineMs: 100_000,
    });
    expect(doc.shapes).toEqual([VICTIM]);
    const ready = await rig.laneIn(VICTIM, 'READY', 100_000);
    expect(ready.trigger).toBe('warmup');
  });
});
