import { setTimeout as delay } from 'node:timers/promises';
import { createQueue } from '@warmlane/queues';
import { classQueueName, StatsStore } from '@warmlane/redis';
import { loopModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';
import { ApiProcess } from './api-process.fixture.js';
import { send } from './protocol-client.fixture.js';

/** Some tens of ms at least, whatever the machine: what a request costs on its way is little beside it. */
const TRIPS = 2_000;
const SIZE = 64;
const KEY = 'trips:int64[]';
const DEADLINE_MS = 2_000;
const SECONDS = 8;
/** More than any machine answers within the deadline; who is refused asks again after a while. */
const CLIENTS = 150;
const AGAIN_MS = 500;

describe('more load than a lane can take', () => {
  let system: ServingSystem;
  let api: ApiProcess;

  /** What became of a request: `answered`, or the code of its error. */
  const ask = async (deadlineMs: number): Promise<string> => {
    const input = { name: 'trips', datatype: 'INT64', shape: [], data: [TRIPS] };
    const answer = await send(`${api.url}/v2/models/loop/versions/1/infer`, {
      headers: { 'warmlane-deadline-ms': deadlineMs },
      body: JSON.stringify({ inputs: [input], parameters: { binary_data_output: true } }),
    });
    if (answer.status !== 200) return `${answer.status} ${String(answer.headers['warmlane-error'])}`;
    expect(answer.headers['warmlane-lane']).toBe('ready');
    return 'answered';
  };

  /** Runs of the lane so far, and how long they took, ms: statistics are written once a second. */
  const done = async (): Promise<{ runs: number; busyMs: number }> => {
    await delay(1_500);
    const { executionCount, computeInfer } = await new StatsStore(system.redis).get('loop', '1');
    return { runs: executionCount, busyMs: computeInfer.ns / 1e6 };
  };

  beforeAll(async () => {
    const yaml = `shapes: ["${KEY}"]\ninputs: { trips: { values: [${TRIPS}] } }\n`;
    system = await ServingSystem.start({ loop: { bytes: loopModel(SIZE), yaml } });
    system.startWorker();
    api = await ApiProcess.start({ WARMLANE_REDIS: system.server.url });
    await system.untilReady(1);
  });

  afterAll(async () => {
    await api.stop('SIGKILL');
    await system[Symbol.asyncDispose]();
  });

  it('answers what it can, refuses the rest, loses nothing and serves at once afterwards', async () => {
    const before = await done();
    const begun = performance.now();
    const ends: string[] = [];
    const client = async (): Promise<void> => {
      while (performance.now() < begun + SECONDS * 1_000) {
        const end = await ask(DEADLINE_MS);
        ends.push(end);
        if (end !== 'answered') await delay(AGAIN_MS);
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    const elapsedMs = performance.now() - begun;
    expect(await ask(20_000)).toBe('answered');

    const of = (wanted: string): number => ends.filter((end) => end === wanted).length;
    const [answered, refused, late] = [of('answered'), of('503 overloaded'), of('504 deadline-exceeded')];
    expect(answered + refused + late).toBe(ends.length);
    expect(refused + late).toBeGreaterThan(0);
    const after = await done();
    // Of a machine's speed both say nothing: what the lane ran was not in vain, and it was not idle.
    expect(answered).toBeGreaterThan(0.6 * (after.runs - before.runs));
    expect(after.busyMs - before.busyMs).toBeGreaterThan(0.4 * elapsedMs);
    const queue = createQueue(classQueueName('loop', '1', KEY), { redis: system.redis });
    await expect
      .poll(() => queue.getJobCountByTypes('wait', 'prioritized', 'active', 'delayed'), { timeout: 10_000 })
      .toBe(0);
    await queue.close();
  });
});
