import { createQueue } from '@warmlane/queues';
import { classQueueName, StatsStore } from '@warmlane/redis';
import { loopModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';
import { ApiProcess } from './api-process.fixture.js';
import { send } from './protocol-client.fixture.js';

/** Some tens of ms on two cores: what a request costs on its way is little beside it. */
const TRIPS = 500;
const SIZE = 64;
const KEY = 'trips:int64[]';
const DEADLINE_MS = 1_500;
const SECONDS = 6;
const FACTOR = 3;

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

  /** Runs of the lane so far: statistics are written once a second. */
  const runs = async (): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const stats = await new StatsStore(system.redis).get('loop', '1');
    return stats.executionCount;
  };

  /** Answers per second where none has to hurry. */
  const possible = async (seconds: number): Promise<number> => {
    let count = 0;
    const until = performance.now() + seconds * 1_000;
    const client = async (): Promise<void> => {
      for (; performance.now() < until; count += 1) expect(await ask(30_000)).toBe('answered');
    };
    await Promise.all([client(), client(), client(), client()]);
    return count / seconds;
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
    const perSecond = await possible(3);
    const before = await runs();
    const open: Promise<string>[] = [];
    const begun = performance.now();
    const due = (): number => ((performance.now() - begun) / 1_000) * FACTOR * perSecond;
    while (performance.now() < begun + SECONDS * 1_000) {
      while (open.length < due()) open.push(ask(DEADLINE_MS));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const ends = await Promise.all(open);
    expect(await ask(10_000)).toBe('answered');

    const allowed = new Set(['answered', '503 overloaded', '504 deadline-exceeded']);
    expect(ends.filter((end) => !allowed.has(end))).toEqual([]);
    const answered = ends.filter((end) => end === 'answered').length;
    const ran = (await runs()) - before;
    // Whatever else the machine does meanwhile: what the lane ran was not in vain, and it was not idle.
    expect(answered).toBeGreaterThan(0.6 * ran);
    expect(answered).toBeGreaterThan(0.4 * perSecond * SECONDS);
    expect(ends.filter((end) => end === '503 overloaded').length).toBeGreaterThan(0);
    const queue = createQueue(classQueueName('loop', '1', KEY), { redis: system.redis });
    await expect
      .poll(() => queue.getJobCountByTypes('wait', 'prioritized', 'active', 'delayed'), { timeout: 10_000 })
      .toBe(0);
    await queue.close();
  });
});
