import { readFile } from 'node:fs/promises';
import { parseModelOptions, printModelOptions, type TuningDoc } from '@warmlane/contracts';
import { keys, TuningStore } from '@warmlane/redis';
import { convReluModel } from '@warmlane/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { until, WorkerRig } from '../support/worker-rig.js';

/** Large enough for a trial to be stopped before it is done. */
const SHAPE = 'x:float32[1,3,224,224]';
/** What is given is not tried: that leaves four candidates, which take seconds. */
const GIVEN =
  'enable_mem_pattern: true, graph_optimization_level: ORT_ENABLE_ALL, session.intra_op.allow_spinning: true';
const YAML = `tune: true\nshapes: ["${SHAPE}"]\noptions: { ${GIVEN} }\n`;
const PATIENCE_MS = 100_000;

describe('the tuner', () => {
  let rig: WorkerRig;
  let store: TuningStore;
  afterEach(() => rig[Symbol.asyncDispose]());

  const start = async (): Promise<void> => {
    rig = await WorkerRig.start();
    store = new TuningStore(rig.redis);
    await rig.addModel('conv', { bytes: convReluModel(), yaml: YAML });
  };
  const tuned = (): Promise<TuningDoc> =>
    until(
      'a finished tuning',
      async () => (await store.list()).find((doc) => doc.state === 'done') ?? null,
      PATIENCE_MS,
    );

  it('serves first, then finds and proves the best options; another worker takes them without a trial', async () => {
    await start();
    const worker = rig.startWorker();
    await rig.laneIn(SHAPE, 'READY');
    expect((await store.list()).every((doc) => doc.chosen === null)).toBe(true);
    const doc = await tuned();
    expect(doc).toMatchObject({ model: 'conv', version: '1', provider: 'cpu', device: 'cpu' });
    const names = doc.candidates.map(({ name }) => name);
    expect(names.slice(0, 2)).toEqual(['configured', 'threads-1']);
    expect(names.at(-1)).toBe('no-arena');
    expect(doc.candidates.filter(({ outcome }) => outcome === 'won').map(({ name }) => name)).toEqual([doc.chosen]);
    for (const candidate of doc.candidates) {
      expect(candidate, candidate.name).toMatchObject({ outcome: expect.stringMatching(/won|slower/), signal: null });
      expect(candidate.options).toMatchObject({ enable_mem_pattern: true });
      expect(candidate.relativeError).toBeLessThan(1e-4);
      expect(candidate.p50Ms).toBeGreaterThan(0);
    }
    const chosen = doc.candidates.find(({ name }) => name === doc.chosen);
    const parsed = printModelOptions('cpu', parseModelOptions('cpu', chosen?.options ?? {}));
    /** A lane with the winner's options, and no other one. */
    const madeByWinner = () =>
      until('the lane that the winner makes', async () => {
        const lanes = await rig.lanes.list({ shapeKey: SHAPE, state: 'READY' });
        const has = parseModelOptions('cpu', lanes[0]?.record?.optionsParsed ?? {});
        return lanes.length === 1 && JSON.stringify(printModelOptions('cpu', has)) === JSON.stringify(parsed);
      });
    await madeByWinner();
    await until('its trials to be gone', async () => (await worker.children('trial')).length === 0);
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    const second = rig.startWorker();
    await madeByWinner();
    expect(second.log).not.toContain('tuning begins');
    expect((await tuned()).updatedAt).toBe(doc.updatedAt);
  });

  it('records a killed trial with its signal and does not try it again; after a kill of the worker goes on from there', async () => {
    await start();
    const worker = rig.startWorker();
    /** The process of a candidate's trial, stopped before it was done. */
    const stopped = (candidate: string) =>
      until(
        `a trial of ${candidate}`,
        async () => {
          const begun = worker.log.split('\n').find((line) => line.includes(`"candidate":"${candidate}","trial":`));
          if (begun === undefined) return null;
          const { trial } = JSON.parse(begun) as { trial: number };
          process.kill(trial, 'SIGSTOP');
          return trial;
        },
        PATIENCE_MS,
      );
    process.kill(await stopped('threads-1'), 'SIGKILL');
    const crashed = await until(
      'the outcome',
      async () => {
        const [doc] = await store.list();
        return doc?.candidates.find(({ name }) => name === 'threads-1') ?? null;
      },
      PATIENCE_MS,
    );
    expect(crashed).toMatchObject({ outcome: 'crashed', signal: 'SIGKILL', p50Ms: null });

    const orphan = await stopped('no-arena');
    worker.kill('SIGKILL');
    await worker.exited;
    await until('the trial to be gone', async () => (await isThere(orphan)) === false);
    const [left] = await store.list();
    if (left === undefined) throw new Error('no tuning');
    expect(left).toMatchObject({ state: 'searching', chosen: null });
    expect(left.candidates.map(({ name }) => name)).not.toContain('no-arena');
    expect((await store.getStep(left))?.candidate).toBe('no-arena');
    // What its time to live does within 15 s.
    await rig.redis.del(keys.tuningClaim(left.environment, left.modelDigest));

    rig.startWorker();
    const doc = await tuned();
    const named = (name: string) => doc.candidates.filter((candidate) => candidate.name === name);
    expect(named('threads-1')).toEqual([crashed]);
    expect(named('no-arena')).toMatchObject([{ outcome: expect.stringMatching(/won|slower/) }]);
    // What was measured before the death was not measured again.
    const [before] = left.candidates;
    expect(doc.candidates[0]?.firstMs).toBe(before?.firstMs);
  });
});

async function isThere(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return stat !== null && !stat.includes(') Z ');
}
