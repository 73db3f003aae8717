import type { WarmlaneError } from '@warmlane/contracts';
import { classQueueName } from '@warmlane/redis';
import { divideModel, int64s } from '@warmlane/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { until, type WorkerProcess, WorkerRig } from '../support/worker-rig.js';

const VICTIM = 'x:float32[1,3,48,96]';
const OTHER = 'x:float32[1,3,48,192]';

const DIVIDE = 'a:int64[1,2];b:int64[1,2]';

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

// Elsewhere the killer has an answer.
describe.skipIf(process.arch !== 'x64')('a request that ends the runtime while a lane is being created', () => {
  let rig: WorkerRig;
  afterEach(() => rig[Symbol.asyncDispose]());

  /** -2^63 / -1 ends every process that computes it. */
  const divide = async (a: bigint, b: bigint): Promise<string> => {
    const producer = await rig.producer();
    const inputs = [int64s('a', [1, 2], [a, a]), int64s('b', [1, 2], [1n, b])];
    return await producer.infer({ model: 'a-divide', version: '1', inputs, deadlineMs: 100_000 }).then(
      ({ lane }) => lane,
      (error: WarmlaneError) => error.code,
    );
  };

  /**
   * The runtime stands still from when `divide` is READY in an epoch until both the other lane's first step and the killer
   * wait for it. `settled`: what uses disposable processes meanwhile.
   */
  async function killBesideStep(worker: WorkerProcess, epoch: number, settled?: Promise<string>) {
    await until(`divide READY in epoch ${epoch}`, async () => {
      const lane = await rig.lane(DIVIDE);
      return lane?.state === 'READY' && lane.epoch === epoch;
    });
    const runtime = await until('the runtime', async () => (await worker.children('runtime'))[0] ?? null);
    process.kill(runtime, 'SIGSTOP');
    expect(await settled).toBe(settled === undefined ? undefined : 'poison');
    await rig.laneIn(VICTIM, 'CREATING');
    const outcome = divide(-(2n ** 63n), -1n);
    const active = `{wl}:${classQueueName('a-divide', '1', DIVIDE)}:active`;
    await until('the killer at the worker', async () => (await rig.redis.llen(active)) > 0);
    process.kill(runtime, 'SIGCONT');
    await until('the lane on trial', async () => {
      const lane = await rig.lane(VICTIM);
      return lane?.epoch === epoch + 1 && /step, while a request was being run: SIGFPE; tried next/.test(lane.reason);
    });
    return { outcome };
  }

  it('is not charged to the lane, however often', { timeout: 180_000 }, async () => {
    rig = await WorkerRig.start();
    await rig.addModel('a-divide', {
      bytes: divideModel(),
      yaml: `shapes: ["${DIVIDE}"]\ninputs: { a: { random: [-100, 100] }, b: { random: [1, 9] } }\n`,
    });
    await rig.addModel('cls', { yaml: `shapes: ["${VICTIM}"]\n` });
    const worker = rig.startWorker();
    const first = await killBesideStep(worker, 1);
    const second = await killBesideStep(worker, 2, first.outcome);
    const ready = await rig.laneIn(VICTIM, 'READY', 100_000);
    expect(ready).toMatchObject({ epoch: 3, reason: '' });
    expect(await second.outcome).toBe('poison');
    expect(await divide(6n, 3n)).toBe('ready');
  });
});
