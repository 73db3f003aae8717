import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelDoc } from '@warmlane/contracts';
import { externalDataModel, reshapeModel } from '@warmlane/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { until, WorkerRig } from '../support/worker-rig.js';

const SHAPE = 'x:float32[1,3,48,192]';

describe('what cannot be loaded or warmed', () => {
  let rig: WorkerRig;
  afterEach(() => rig[Symbol.asyncDispose]());

  const registered = (name: string, state: ModelDoc['state']) =>
    until(`${name} ${state}`, async () => {
      const doc = await rig.models.get(name, '1');
      return doc?.state === state ? doc : null;
    });

  it('shows each broken model FAILED with its reason, while the others are served', async () => {
    rig = await WorkerRig.start();
    const yaml = `shapes: ["${SHAPE}"]\n`;
    await rig.addModel('corrupt', { bytes: Buffer.from('not an onnx file'), yaml });
    await rig.addModel('empty', { bytes: Buffer.alloc(0), yaml });
    await rig.addModel('lacking', { bytes: externalDataModel('weights.bin').model, yaml: '' });
    await rig.addModel('batched', { yaml: `${yaml}batch: { axis: { x: 1 }, sizes: [1, 2] }\n` });
    await rig.addModel('padded', {
      yaml: `${yaml}pad: { x: { axis: 3, to: [192], outputs: { y: { axis: 1, crop: eval(d) } } } }\n`,
    });
    await rig.addModel('misspelt', { yaml: `${yaml}options: { cudnn_conv_algo_serch: HEURISTIC }\n` });
    await rig.addModel('disagreeing', { yaml: 'shapes: ["x:float32[1,4,48,192]"]\n' });
    await rig.addModel('unknown', { yaml: `${yaml}shapse: []\n` });
    await rig.addModel('escaping', { yaml: `${yaml}inputs: { x: { file: ../../corrupt/1/model.onnx } }\n` });
    await rig.addModel('cls', { yaml });
    rig.startWorker();
    await rig.laneIn(SHAPE, 'READY');
    const reasons: Record<string, RegExp> = {
      corrupt: /protobuf|parsing|INVALID/i,
      empty: /./,
      lacking: /weights\.bin/,
      batched: /^batch: axis 1 of 'x' is no free dimension/,
      padded: /^pad: the model has no output 'y'/,
      misspelt: /cudnn_conv_algo_search/,
      disagreeing: /shapes: 'x:float32\[1,4,48,192\]'.*dimension 1 is 4, expected 3/,
      unknown: /shapse/,
      escaping: /leads out of the version's folder/,
    };
    for (const [name, reason] of Object.entries(reasons)) {
      expect((await registered(name, 'FAILED')).reason, name).toMatch(reason);
    }
    expect(await registered('cls', 'LOADED')).toMatchObject({ reason: '' });
    expect((await rig.lanes.list()).map((lane) => lane.model)).toEqual(['cls']);
  });

  it('fails the shape that only the graph refuses, and the one whose numbers are not right enough; the others are READY', async () => {
    rig = await WorkerRig.start();
    // The metadata takes any N and M, the graph only 12 elements.
    await rig.addModel('reshape', {
      bytes: reshapeModel(),
      yaml: 'shapes: ["x:float32[2,6]", "x:float32[3,6]"]\n',
    });
    await rig.addModel('strict', { yaml: `shapes: ["${SHAPE}"]\ntolerance: { relative: 1.0e-12 }\n` });
    await rig.addModel('cls', { yaml: 'shapes: ["x:float32[1,3,48,96]"]\n' });
    rig.startWorker();
    await rig.laneIn('x:float32[1,3,48,96]', 'READY');
    const strict = await rig.laneIn(SHAPE, 'FAILED');
    expect(strict.reason).toMatch(
      /^wrong numbers: output '.*' is off by .*e-.*, allowed are 1e-12\. Raise 'tolerance'/,
    );
    expect(strict.record).toBeNull();
    const states = await until('both reshape lanes settled', async () => {
      const lanes = await rig.lanes.list({ model: 'reshape' });
      return lanes.length === 2 && lanes.every((lane) => lane.state === 'READY' || lane.state === 'FAILED')
        ? lanes
        : null;
    });
    expect(states.map((lane) => lane.state).sort()).toEqual(['FAILED', 'READY']);
    expect(states.find((lane) => lane.state === 'FAILED')?.reason).toMatch(/reshape/i);
  });

  it('refuses a version whose bytes have changed: publish a new version', async () => {
    rig = await WorkerRig.start();
    const folder = await rig.addModel('cls', { yaml: `shapes: ["${SHAPE}"]\n` });
    const worker = rig.startWorker();
    const lane = await rig.laneIn(SHAPE, 'READY');
    worker.kill('SIGTERM');
    expect(await worker.exited).toBe(0);
    const bytes = reshapeModel();
    await writeFile(join(folder, 'model.onnx'), bytes);
    rig.startWorker();
    const failed = await rig.laneIn(SHAPE, 'FAILED');
    expect(failed.reason).toContain('publish a new version');
    expect(failed.id).toBe(lane.id);
    await rig.addModel('cls', { version: '2', yaml: `shapes: ["${SHAPE}"]\n` });
    await cp(join(rig.versionFolder('cls', '2'), 'model.onnx'), join(folder, 'model.onnx'));
    await rig.models.setDesired('cls', null, 'load');
    await until('version 2 to serve', async () => {
      const lanes = await rig.lanes.list({ model: 'cls', version: '2', state: 'READY' });
      return lanes.length === 1;
    });
  });
});
