import { rename } from 'node:fs/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { ramp, until, WorkerRig } from '../support/worker-rig.js';

const SHAPES = ['x:float32[1,3,48,96]', 'x:float32[1,3,48,192]'];
const YAML = `shapes: [${SHAPES.map((shape) => `"${shape}"`).join(', ')}]\n`;

describe('versions of a model', () => {
  let rig: WorkerRig;
  afterEach(() => rig[Symbol.asyncDispose]());

  const ready = (version: string) =>
    until(`version ${version} READY`, async () => {
      const lanes = await rig.lanes.list({ model: 'cls', version, state: 'READY' });
      return lanes.length === SHAPES.length ? lanes : null;
    });

  /** Also a lane that made way for a successor of its own may be there: one of each shape has to end by the version. */
  const drained = (version: string) =>
    until('the old lanes to drain', async () => {
      const old = await rig.lanes.list({ model: 'cls', version });
      const byVersion = old.filter((lane) => lane.trigger === 'version').map((lane) => lane.shapeKey);
      return old.every((lane) => lane.state === 'EVICTED') && SHAPES.every((shape) => byVersion.includes(shape));
    });

  it('hand over under load: the new plan READY first, then the default moves, then the old lanes drain; nothing is lost', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: YAML });
    rig.startWorker();
    await ready('1');
    const producer = await rig.producer();
    const answers: { version: string; lane: string }[] = [];
    const failures: unknown[] = [];
    let loading = true;
    const load = Array.from({ length: 3 }, async (_, at) => {
      for (let seed = at; loading; seed += 3) {
        const width = seed % 2 === 0 ? 96 : 192;
        await producer.infer({ model: 'cls', inputs: [ramp('x', [1, 3, 48, width], seed)] }).then(
          (answer) => answers.push({ version: answer.version, lane: answer.lane }),
          // One is one too many; and after the end of a failed test every further one would fail at once, for ever.
          (thrown: unknown) => {
            failures.push(thrown);
            loading = false;
          },
        );
      }
    });
    // Written aside and moved into place: a worker never sees half a version.
    const aside = await rig.addModel('cls-next', { version: '2', yaml: YAML });
    await rename(aside, rig.versionFolder('cls', '2'));
    await rig.models.setDesired('cls', null, 'load');
    await until('version 2 to be registered', () => rig.models.get('cls', '2'));
    const early = await rig.models.defaultVersion('cls');
    expect(early).toBe('1');
    await until('the default to move', async () => (await rig.models.defaultVersion('cls')) === '2');
    const lanes = await rig.lanes.list({ model: 'cls', version: '2' });
    expect(lanes.map((lane) => lane.state)).toEqual(['READY', 'READY']);
    await until('version 1 to be set aside', async () => (await rig.models.get('cls', '1'))?.retired ?? false);
    await drained('1');
    loading = false;
    await Promise.all(load);
    expect(failures).toEqual([]);
    expect(new Set(answers.map((answer) => answer.version))).toEqual(new Set(['1', '2']));
    expect(answers.at(-1)).toEqual({ version: '2', lane: 'ready' });
    // A request that names the old version is served cold.
    const old = await producer.infer({ model: 'cls', version: '1', inputs: [ramp('x', [1, 3, 48, 96])] });
    expect(old.lane).toBe('cold');
  });

  it('are unloaded and loaded again on request', async () => {
    rig = await WorkerRig.start();
    await rig.addModel('cls', { yaml: YAML });
    rig.startWorker();
    await ready('1');
    await rig.models.setDesired('cls', null, 'unload');
    await until('UNLOADED', async () => (await rig.models.get('cls', '1'))?.state === 'UNLOADED');
    await drained('1');
    await rig.writeFile('cls/1/warmlane.yaml', `shapes: ["${SHAPES[0]}"]\n`);
    await rig.models.setDesired('cls', null, 'load');
    await until('LOADED', async () => (await rig.models.get('cls', '1'))?.state === 'LOADED');
    const lanes = await until('the lane of the new yaml', async () => {
      const all = await rig.lanes.list({ model: 'cls', state: 'READY' });
      return all.length > 0 ? all : null;
    });
    expect(lanes.map((lane) => lane.shapeKey)).toEqual([SHAPES[0]]);
    expect((await rig.plans.entries('cls', '1')).map((entry) => entry.shapeKey)).toEqual([SHAPES[0]]);
  });
});
