import type { LaneDoc, NamedTensor } from '@warmlane/contracts';
import { int64s, loopModel } from '@warmlane/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { slowDown } from '../support/slow-down.js';
import { until, type WorkerProcess, WorkerRig } from '../support/worker-rig.js';

const SHAPE = 'trips:int64[]';
/** About 25 ms of computing, and a small answer. */
const TRIPS = 5_000;
const SIZE = 64;
/** A run of 25 ms meets two stops and more, so it takes over 120 ms, whenever it begins. */
const SLOW = { stopMs: 60, goMs: 8 };

const inputs: NamedTensor[] = [int64s('trips', [], [BigInt(TRIPS)])];

/** Requests one after the other, until told to end or one fails. */
class Traffic {
  readonly failures: string[] = [];
  readonly lanes = new Set<string>();
  readonly #answers = new Set<string>();
  readonly #running: Promise<void>;
  #ended = false;

  constructor(rig: WorkerRig) {
    this.#running = this.#run(rig);
  }

  async #run(rig: WorkerRig): Promise<void> {
    const producer = await rig.producer();
    while (!this.#ended) {
      try {
        const { lane, outputs } = await producer.infer({ model: 'loop', version: '1', inputs });
        this.lanes.add(lane);
        for (const { data } of outputs) this.#answers.add(Buffer.from(data).toString('base64'));
      } catch (thrown) {
        this.failures.push(String(thrown));
        return;
      }
    }
  }

  /** Distinct answers that came: one where all are right. */
  get answers(): number {
    return this.#answers.size;
  }

  async end(): Promise<void> {
    this.#ended = true;
    await this.#running;
  }
}

describe('a lane that is slowed from outside while it serves', () => {
  let rig: WorkerRig;
  let worker: WorkerProcess;
  let before: LaneDoc;
  let traffic: Traffic;
  const states: string[] = [];

  beforeEach(async () => {
    states.length = 0;
    rig = await WorkerRig.start();
    const yaml = `shapes: ["${SHAPE}"]\ninputs: { trips: { values: [${TRIPS}] } }\n`;
    await rig.addModel('loop', { bytes: loopModel(SIZE), yaml });
    worker = rig.startWorker();
    before = await rig.laneIn(SHAPE, 'READY');
    await rig.notices.subscribe((notice) => {
      if (notice.kind === 'lane') states.push(notice.state);
    });
    traffic = new Traffic(rig);
  });

  afterEach(async () => {
    await traffic.end();
    await rig[Symbol.asyncDispose]();
  });

  const seen = (state: string): Promise<true> =>
    until(
      () => `${state}; seen were ${states.join(' ')}, failures ${traffic.failures.join()}`,
      async () => states.includes(state),
      100_000,
    );

  const expectServed = async (): Promise<void> => {
    await traffic.end();
    expect([traffic.failures, traffic.answers, [...traffic.lanes]]).toEqual([[], 1, ['ready']]);
  };

  it('is SUSPECT, serves on, and is READY again once it is proven as fast as it was', async () => {
    const [runtime = 0] = await worker.children('runtime');
    const release = slowDown(runtime, SLOW);
    await seen('SUSPECT');
    await release();
    const after = await rig.laneIn(SHAPE, 'READY');
    expect(after).toMatchObject({ id: before.id, trigger: 'watch', reason: '' });
    expect(Date.parse(after.record?.verifiedAt ?? '')).toBeGreaterThan(Date.parse(before.record?.verifiedAt ?? ''));
    await expectServed();
    expect(states).toEqual(['SUSPECT', 'READY']);
  });

  it('gets a successor where it stays slow, and serves until that is READY', async () => {
    const [runtime = 0] = await worker.children('runtime');
    const release = slowDown(runtime, SLOW);
    await seen('QUEUED');
    expect(states.slice(0, 2)).toEqual(['SUSPECT', 'READY']);
    await release();
    await seen('EVICTED');
    const lanes = await rig.lanes.list({ shapeKey: SHAPE });
    const [old, successor] = lanes.sort((a) => (a.id === before.id ? -1 : 1));
    expect(old).toMatchObject({ id: before.id, state: 'EVICTED', reason: 'its successor is READY' });
    expect(successor).toMatchObject({ state: 'READY', model: 'loop' });
    await expectServed();
  });
});
