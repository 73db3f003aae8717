import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { decodeStrings, type NamedTensor } from '@warmlane/contracts';
import {
  bfloat16BranchModel,
  CONFORMANCE_MODELS,
  externalDataModel,
  floats,
  identityModel,
  reshapeModel,
  strings,
} from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bfloat16ToFloat32, float32ToBfloat16 } from '../../apps/reference/src/bfloat16.js';
import { ModelStore } from '../../apps/reference/src/model-store.js';

let folder: string;
let count = 0;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'warmlane-reference-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function save(bytes: Uint8Array): { path: string; digest: string } {
  count += 1;
  const file = path.join(folder, `${count}.onnx`);
  writeFileSync(file, bytes);
  return { path: file, digest: `sha256:${count}` };
}
const plain = (tensors: readonly NamedTensor[]): unknown =>
  tensors.map(({ name, dtype, dims, data }) => ({ name, dtype, dims, data: Buffer.from(data).toString('hex') }));
const whole = { outputs: null, cacheKey: null };

describe.each(['reference', 'fallback'] as const)('the %s', (role) => {
  const store = new ModelStore(role, null);

  // onnxruntime-node hands strings over as C strings: what follows a NUL would be cut off.
  const cutOff = (inputs: readonly NamedTensor[]): boolean =>
    inputs.some(({ dtype, data }) => dtype === 'string' && decodeStrings(data).some((text) => text.includes(0)));

  it.each(CONFORMANCE_MODELS)('declares and runs $name', async (model) => {
    const file = save(model.bytes);
    const metadata = await store.load(file.path, file.digest);
    expect(metadata.inputs).toEqual(model.metadata.inputs);
    // Dims of outputs that the file leaves open are inferred.
    const declared = ({ name, dtype }: { name: string; dtype: string }): object => ({ name, dtype });
    expect(metadata.outputs.map(declared)).toEqual(model.metadata.outputs.map(declared));
    for (const inputs of model.samples) {
      const run = store.run({ ...file, ...whole, inputs });
      if (cutOff(inputs)) await expect(run).rejects.toMatchObject({ code: 'not-supported' });
      else expect(plain((await run).outputs)).toEqual(plain(model.compute(inputs)));
    }
    await store.unload(file.digest);
  });

  it('runs strings', async () => {
    const file = save(identityModel('string'));
    const inputs = [strings('x', [3], ['', 'ü', 'two words'])];
    const { outputs } = await store.run({ ...file, ...whole, inputs });
    expect(plain(outputs)).toEqual(plain([strings('y', [3], ['', 'ü', 'two words'])]));
  });
});

describe('the reference', () => {
  const store = new ModelStore('reference', null);

  it('reads external data beside the model, and names it where it is missing', async () => {
    const { model, data } = externalDataModel('weights.bin');
    const file = save(model);
    await expect(store.load(file.path, file.digest)).rejects.toMatchObject({
      code: 'bad-request',
      message: expect.stringContaining('weights.bin'),
    });
    writeFileSync(path.join(folder, 'weights.bin'), data);
    await store.load(file.path, file.digest);
  });

  it('refuses a shape that the graph does not take, with its message, and goes on', async () => {
    const file = save(reshapeModel());
    const run = (dims: number[]): Promise<unknown> => {
      const size = dims.reduce((product, dim) => product * dim, 1);
      return store.run({ ...file, ...whole, inputs: [floats('x', dims, new Array<number>(size).fill(1))] });
    };
    await expect(run([2, 7])).rejects.toMatchObject({ code: 'bad-request', message: expect.stringMatching(/Reshape/) });
    await run([3, 4]);
  });

  it('refuses a string that is not UTF-8', async () => {
    const file = save(identityModel('string'));
    const inputs = [strings('x', [1], [Uint8Array.of(0xff)])];
    await expect(store.run({ ...file, ...whole, inputs })).rejects.toMatchObject({ code: 'bad-request' });
  });

  it('computes a bfloat16 model with weights, casts and a subgraph in float32', async () => {
    const file = save(bfloat16BranchModel());
    const metadata = await store.load(file.path, file.digest);
    expect(metadata.inputs.map(({ dtype }) => dtype)).toEqual(['bfloat16', 'float32', 'bool']);
    expect(metadata.outputs).toEqual([{ name: 'y', dtype: 'bfloat16', dims: ['N'] }]);
    for (const doubled of [1, 0]) {
      const { outputs } = await store.run({
        ...file,
        ...whole,
        inputs: [
          { name: 'x', dtype: 'bfloat16', dims: [2], data: float32ToBfloat16(Float32Array.of(1, -3)) },
          floats('f', [2], [0.25, 8]),
          { name: 'doubled', dtype: 'bool', dims: [], data: Uint8Array.of(doubled) },
        ],
      });
      const [y] = outputs;
      expect(y?.dtype).toBe('bfloat16');
      const values = y === undefined ? [] : [...bfloat16ToFloat32(y.data)];
      expect(values).toEqual(doubled === 1 ? [2.5, 10] : [0.625, 2.5]);
    }
  });
});
