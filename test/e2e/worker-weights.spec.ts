import { mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type StackModel, stackInput, writeStackModel } from '@warmlane/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { floatsOf, until, WorkerRig } from '../support/worker-rig.js';

const STACK: StackModel = { kind: 'conv', layers: 4, width: 512, seed: 1 };
const SHAPES = [1, 2].map((batch) => `x:float32[${batch},512,8,8]`);

describe('a worker whose lanes share the weights of their model', () => {
  let rig: WorkerRig;
  afterEach(() => rig[Symbol.asyncDispose]());

  it('counts them once, and gives a lane that is wrong with them its own', async () => {
    rig = await WorkerRig.start();
    const version = rig.versionFolder('stack');
    await mkdir(version, { recursive: true });
    const bytes = await writeStackModel(join(version, 'model.onnx'), STACK);
    const yaml = `shapes: ${JSON.stringify(SHAPES)}\noptions: { intra_op_num_threads: 1 }\n`;
    await rig.writeFile('stack/1/warmlane.yaml', yaml);
    const worker = rig.startWorker();
    const ready = await Promise.all(SHAPES.map((shape) => rig.laneIn(shape, 'READY', 100_000)));
    for (const { record } of ready) {
      expect(record?.weights).toMatchObject({ reason: '' });
      expect(record?.weights?.sharedBytes).toBeGreaterThanOrEqual(bytes);
      expect(record?.memoryBytes).toBeLessThan(bytes);
    }
    const shared = ready[0]?.record?.weights?.sharedBytes ?? 0;
    const own = ready.reduce((sum, { record }) => sum + (record?.memoryBytes ?? 0), 0);
    await until('the memory of the worker', async () => (await rig.worker()).memory.used === own + shared);

    const producer = await rig.producer();
    const ask = async () => await producer.infer({ model: 'stack', inputs: [stackInput(STACK, { batch: 1 })] });
    const before = await ask();
    expect(before.lane).toBe('ready');

    await damage(join(rig.folder, 'data', 'weights'));
    const [runtime = 0] = await worker.children('runtime');
    process.kill(runtime, 'SIGKILL');
    const [first = ''] = SHAPES;
    const again = await until(
      'the lane to have weights of its own',
      async () => {
        const lane = await rig.lane(first);
        const reason = lane?.record?.weights?.reason ?? '';
        return lane?.state === 'READY' && reason !== '' ? lane : null;
      },
      100_000,
    );
    expect(again.record?.weights).toEqual({
      sharedBytes: 0,
      reason: expect.stringMatching(/^not shared: wrong numbers/),
    });
    const after = await ask();
    expect(after.lane).toBe('ready');
    expect(floatsOf(after.outputs[0]).slice(0, 50)).toEqual(
      floatsOf(before.outputs[0])
        .slice(0, 50)
        .map((value) => expect.closeTo(value, 3)),
    );
  });

  /** Other numbers in the file that the next runtime reads the weights from; its size stays. */
  async function damage(prepared: string): Promise<void> {
    const [entry = ''] = await readdir(prepared);
    const file = await open(join(prepared, entry, 'weights.bin'), 'r+');
    await file.write(Buffer.alloc(2 ** 20, Buffer.from(Float32Array.of(0.7).buffer)), 0, 2 ** 20, 2 ** 20);
    await file.close();
  }
});
