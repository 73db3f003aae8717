import { addSubModel, int32s } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';
import { slowDown } from '../support/slow-down.js';

/** It runs for a twentieth of the time. The model costs next to nothing: however busy this machine is, that is what counts. */
const SLOW = { stopMs: 380, goMs: 20 };

describe('two workers, one of them on a device that became slow', () => {
  let system: ServingSystem;
  let fast: string;
  let slow: string;
  let release: () => Promise<void>;

  beforeAll(async () => {
    const yaml = 'shapes: ["INPUT0:int32[1,16];INPUT1:int32[1,16]"]\nreplicas: 2\n';
    system = await ServingSystem.start({ add: { bytes: addSubModel(), yaml } });
    system.startWorker();
    fast = (await system.untilReady(1))[0]?.worker ?? '';
    const second = system.startWorker();
    slow = (await system.untilReady(2)).find(({ worker }) => worker !== fast)?.worker ?? '';
    const [runtime = 0] = await second.children('runtime');
    release = slowDown(runtime, SLOW);
  });

  afterAll(async () => {
    await release();
    await system[Symbol.asyncDispose]();
  });

  /** So many requests, of which at most so many are under way: how many each worker took. */
  const shares = async (count: number, underWay: number): Promise<{ fast: number; slow: number }> => {
    const inputs = ['INPUT0', 'INPUT1'].map((name) => int32s(name, [1, 16], Array(16).fill(1)));
    const workers: string[] = [];
    let left = count;
    const client = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const answer = await system.infer('add', inputs);
        expect(answer.lane).toBe('ready');
        workers.push(answer.worker);
      }
    };
    await Promise.all(Array.from({ length: underWay }, client));
    const of = (id: string) => workers.filter((worker) => worker === id).length;
    return { fast: of(fast), slow: of(slow) };
  };

  it('the slow one takes less than a quarter of what the other takes while there is enough for both', async () => {
    const taken = await shares(1_000, 32);
    expect(taken.slow).toBeGreaterThan(0);
    expect(taken.slow).toBeLessThan(taken.fast / 4);
  });

  it('nor does it keep of the few that come after many what the other could have run', async () => {
    await shares(300, 32);
    const taken = await shares(200, 4);
    expect(taken.slow).toBeLessThan(taken.fast / 4);
  });
});
