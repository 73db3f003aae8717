import { open } from 'node:fs/promises';
import type { NamedTensor } from '@warmlane/contracts';
import { model, type Node } from './onnx-builder.js';

/** Layers of one kind with Relu between, each with one weight. */
export interface StackModel {
  kind: 'matmul' | 'conv';
  layers: number;
  /** Width of a MatMul, channels of a 3x3 convolution. */
  width: number;
  seed: number;
  dtype?: 'float32' | 'float16';
}

const MODEL_GRAPH = 7;
const GRAPH_INITIALIZER = 5;
const TENSOR = { dims: 1, dataType: 2, name: 8, rawData: 9 } as const;
const DATA_TYPES = { float32: 1, float16: 10 } as const;

/** x [N,width] or [N,width,H,W] -> y of the same shape. */
function declared({ kind, width, dtype = 'float32' }: StackModel, name: string) {
  return { name, dtype, dims: kind === 'matmul' ? ['N', width] : ['N', width, 'H', 'W'] };
}

function nodes({ kind, layers }: StackModel): Node[] {
  return Array.from({ length: layers }, (_, at): Node[] => {
    const inputs = [at === 0 ? 'x' : `r${at - 1}`, `w${at}`];
    const attributes = { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } };
    return [
      kind === 'matmul'
        ? { op: 'MatMul', inputs, outputs: [`c${at}`] }
        : { op: 'Conv', inputs, outputs: [`c${at}`], attributes },
      { op: 'Relu', inputs: [`c${at}`], outputs: [at === layers - 1 ? 'y' : `r${at}`] },
    ];
  }).flat();
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 0x80)) {
    if (rest < 0x80) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 0x80) | 0x80);
  }
}

const numberField = (field: number, value: number) => Buffer.concat([varint(field * 8), varint(value)]);
const head = (field: number, bytes: number) => Buffer.concat([varint(field * 8 + 2), varint(bytes)]);

/** Half precision of small normal numbers, rounded towards zero; zero for what is smaller. */
function halves(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer);
  const out = new Uint16Array(values.length);
  for (let at = 0; at < out.length; at += 1) {
    const word = bits[at] ?? 0;
    const exponent = ((word >>> 23) & 0xff) - 112;
    out[at] = exponent <= 0 ? 0 : ((word >>> 16) & 0x8000) | (exponent << 10) | ((word >>> 13) & 0x3ff);
  }
  return out;
}

/** Uniform numbers in [-scale, scale], the same for the same seed; a loop, since there may be hundreds of millions. */
function uniform(count: number, scale: number, seed: number, dtype: 'float32' | 'float16'): Uint8Array {
  const values = new Float32Array(count);
  let state = seed >>> 0;
  for (let at = 0; at < count; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    values[at] = (state / 2 ** 31 - 1) * scale;
  }
  return new Uint8Array(dtype === 'float32' ? values.buffer : halves(values).buffer);
}

/**
 * Writes the model layer by layer, so that one of gigabytes needs the memory of one layer. Weights keep the size of the
 * numbers from layer to layer. @returns the bytes of its weights
 */
export async function writeStackModel(file: string, stack: StackModel): Promise<number> {
  const { kind, layers, width, seed, dtype = 'float32' } = stack;
  const dims = kind === 'matmul' ? [width, width] : [width, width, 3, 3];
  const count = dims.reduce((product, dim) => product * dim, 1);
  const scale = Math.sqrt(6 / (count / width));
  const out = await open(file, 'w');
  let total = 0;
  try {
    await out.write(
      model({ name: 'stack', nodes: nodes(stack), inputs: [declared(stack, 'x')], outputs: [declared(stack, 'y')] }),
    );
    for (let at = 0; at < layers; at += 1) {
      const data = uniform(count, scale, seed + at, dtype);
      const name = Buffer.from(`w${at}`);
      const tensor = Buffer.concat([
        ...dims.map((dim) => numberField(TENSOR.dims, dim)),
        numberField(TENSOR.dataType, DATA_TYPES[dtype]),
        head(TENSOR.name, name.byteLength),
        name,
        head(TENSOR.rawData, data.byteLength),
      ]);
      const initializer = Buffer.concat([head(GRAPH_INITIALIZER, tensor.byteLength + data.byteLength), tensor]);
      // A graph in a second field is merged into the first: that is how a message is written piece by piece.
      await out.write(Buffer.concat([head(MODEL_GRAPH, initializer.byteLength + data.byteLength), initializer]));
      await out.write(data);
      total += data.byteLength;
    }
  } finally {
    await out.close();
  }
  return total;
}

/** An input of the stack: `batch` rows, or images of `size`. */
export function stackInput(
  stack: StackModel,
  { batch, size = 8 }: { batch: number; size?: number },
  seed = 1,
): NamedTensor {
  const { kind, width, dtype = 'float32' } = stack;
  const dims = kind === 'matmul' ? [batch, width] : [batch, width, size, size];
  const count = dims.reduce((product, dim) => product * dim, 1);
  return { name: 'x', dtype, dims, data: uniform(count, 1, seed, dtype) };
}
