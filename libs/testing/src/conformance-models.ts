import {
  DTYPE_NAMES,
  type DType,
  decodeStrings,
  encodeStrings,
  type ModelMetadata,
  type NamedTensor,
} from '@warmlane/contracts';
import {
  addSubModel,
  anonymousDimsModel,
  identityModel,
  nonZeroModel,
  reshapeByInputModel,
  sqrtModel,
  stringConcatModel,
  twoBatchAxesModel,
} from './models.js';
import { bytesOf } from './onnx-builder.js';

/** A tiny model with what it computes, said once more in JavaScript: what a fake runs, and what a real one must give. */
export interface ConformanceModel {
  name: string;
  bytes: Uint8Array;
  metadata: ModelMetadata;
  /** Two samples of one shape. */
  samples: [NamedTensor[], NamedTensor[]];
  compute(inputs: readonly NamedTensor[]): NamedTensor[];
  /** The output's shape differs between the samples. */
  dataDependent?: boolean;
  /** Needs strings or other things that only the CPU does. */
  cpuOnly?: boolean;
}

export function floats(name: string, dims: number[], values: readonly number[]): NamedTensor {
  return { name, dtype: 'float32', dims, data: bytesOf(Float32Array.from(values)) };
}

export function int32s(name: string, dims: number[], values: readonly number[]): NamedTensor {
  return { name, dtype: 'int32', dims, data: bytesOf(Int32Array.from(values)) };
}

export function int64s(name: string, dims: number[], values: readonly bigint[]): NamedTensor {
  return { name, dtype: 'int64', dims, data: bytesOf(BigInt64Array.from(values)) };
}

export function strings(name: string, dims: number[], values: readonly (string | Uint8Array)[]): NamedTensor {
  return { name, dtype: 'string', dims, data: encodeStrings(values) };
}

export function floatsOf(tensor: { data: Uint8Array }): number[] {
  const { data } = tensor;
  return Array.from(new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)));
}

function int32sOf(tensor: { data: Uint8Array }): number[] {
  const { data } = tensor;
  return Array.from(new Int32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)));
}

function input(inputs: readonly NamedTensor[], name: string): NamedTensor {
  const found = inputs.find((tensor) => tensor.name === name);
  if (found === undefined) throw new Error(`no input ${name}`);
  return found;
}

/** Element bytes that are distinct from sample to sample, and are nobody's padding. */
function pattern(bytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + seed * 13 + 1) % 120);
}

function identity(dtype: DType, dims: number[]): ConformanceModel {
  const elements = dims.reduce((product, dim) => product * dim, 1);
  const sample = (seed: number): NamedTensor[] => {
    if (dtype === 'string') {
      const texts = Array.from({ length: elements }, (_, at) =>
        Buffer.from([`s${seed}-${at}-ü`, '', 'a\0b'][at % 3] ?? ''),
      );
      return [strings('x', dims, texts)];
    }
    if (dtype === 'bool')
      return [{ name: 'x', dtype, dims, data: Uint8Array.from({ length: elements }, (_, at) => (at + seed) % 2) }];
    const size = { int8: 1, uint8: 1, int16: 2, uint16: 2, float16: 2, bfloat16: 2, int64: 8, uint64: 8, float64: 8 };
    const bytes = dtype in size ? size[dtype as keyof typeof size] : 4;
    return [{ name: 'x', dtype, dims, data: pattern(elements * bytes, seed) }];
  };
  const symbolic = dims.length === 0 ? [] : ['N'];
  return {
    name: `identity ${dtype}${dims.length === 0 ? ' scalar' : ''}`,
    bytes: identityModel(dtype, symbolic),
    metadata: {
      inputs: [{ name: 'x', dtype, dims: symbolic }],
      outputs: [{ name: 'y', dtype, dims: symbolic }],
    },
    samples: [sample(1), sample(2)],
    compute: (inputs) => [{ ...input(inputs, 'x'), name: 'y', data: input(inputs, 'x').data.slice() }],
    cpuOnly: dtype === 'string',
  };
}

const addSub: ConformanceModel = {
  name: 'add and sub',
  bytes: addSubModel(),
  metadata: {
    inputs: [
      { name: 'INPUT0', dtype: 'int32', dims: ['N', 16] },
      { name: 'INPUT1', dtype: 'int32', dims: ['N', 16] },
    ],
    outputs: [
      { name: 'OUTPUT0', dtype: 'int32', dims: ['N', 16] },
      { name: 'OUTPUT1', dtype: 'int32', dims: ['N', 16] },
    ],
  },
  samples: [3, 5].map((factor) => [
    int32s(
      'INPUT0',
      [2, 16],
      Array.from({ length: 32 }, (_, at) => at * factor),
    ),
    int32s(
      'INPUT1',
      [2, 16],
      Array.from({ length: 32 }, (_, at) => at - factor),
    ),
  ]) as [NamedTensor[], NamedTensor[]],
  compute: (inputs) => {
    const a = int32sOf(input(inputs, 'INPUT0'));
    const b = int32sOf(input(inputs, 'INPUT1'));
    const { dims } = input(inputs, 'INPUT0');
    return [
      int32s(
        'OUTPUT0',
        dims,
        a.map((value, at) => value + (b[at] ?? 0)),
      ),
      int32s(
        'OUTPUT1',
        dims,
        a.map((value, at) => value - (b[at] ?? 0)),
      ),
    ];
  },
};

const sqrt: ConformanceModel = {
  name: 'sqrt with NaN',
  bytes: sqrtModel(),
  metadata: {
    inputs: [{ name: 'x', dtype: 'float32', dims: ['N'] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['N'] }],
  },
  samples: [[floats('x', [4], [4, -1, 0, 9])], [floats('x', [4], [-4, 16, 25, -0.5])]],
  compute: (inputs) => [floats('y', input(inputs, 'x').dims, floatsOf(input(inputs, 'x')).map(Math.sqrt))],
};

const anonymous: ConformanceModel = {
  name: 'anonymous dims',
  bytes: anonymousDimsModel(),
  metadata: {
    inputs: [{ name: 'x', dtype: 'float32', dims: ['N', -1] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: [-1, -1] }],
  },
  samples: [[floats('x', [2, 2], [1, 2, 3, 4])], [floats('x', [2, 2], [5, 6, 7, 8])]],
  compute: (inputs) => [
    floats(
      'y',
      input(inputs, 'x').dims,
      floatsOf(input(inputs, 'x')).map((value) => value + 1),
    ),
  ],
};

const twoBatchAxes: ConformanceModel = {
  name: 'two batch axes',
  bytes: twoBatchAxesModel(),
  metadata: {
    inputs: [
      { name: 'a', dtype: 'float32', dims: ['B', 4] },
      { name: 'state', dtype: 'float32', dims: [2, 'B', 4] },
    ],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['B', 4] }],
  },
  samples: [1, 2].map((factor) => [
    floats(
      'a',
      [3, 4],
      Array.from({ length: 12 }, (_, at) => at * factor),
    ),
    floats(
      'state',
      [2, 3, 4],
      Array.from({ length: 24 }, (_, at) => at / factor),
    ),
  ]) as [NamedTensor[], NamedTensor[]],
  compute: (inputs) => {
    const state = floatsOf(input(inputs, 'state'));
    const half = state.length / 2;
    const a = input(inputs, 'a');
    const y = floatsOf(a).map((value, at) => value + (state[at] ?? 0) + (state[half + at] ?? 0));
    return [floats('y', a.dims, y)];
  },
};

const nonZero: ConformanceModel = {
  name: 'non zero',
  bytes: nonZeroModel(),
  metadata: {
    inputs: [{ name: 'x', dtype: 'float32', dims: ['N'] }],
    outputs: [{ name: 'y', dtype: 'int64', dims: [1, 'count'] }],
  },
  samples: [[floats('x', [5], [0, 1, 0, 2, 3])], [floats('x', [5], [0, 0, 0, 0, 7])]],
  compute: (inputs) => {
    const positions = floatsOf(input(inputs, 'x')).flatMap((value, at) => (value === 0 ? [] : [BigInt(at)]));
    return [{ name: 'y', dtype: 'int64', dims: [1, positions.length], data: bytesOf(BigInt64Array.from(positions)) }];
  },
  dataDependent: true,
};

const reshapeByInput: ConformanceModel = {
  name: 'reshape by input',
  bytes: reshapeByInputModel(),
  metadata: {
    inputs: [
      { name: 'x', dtype: 'float32', dims: ['N'] },
      { name: 'shape', dtype: 'int64', dims: [2] },
    ],
    outputs: [{ name: 'y', dtype: 'float32', dims: [-1, -1] }],
  },
  samples: [
    [floats('x', [6], [1, 2, 3, 4, 5, 6]), int64s('shape', [2], [2n, 3n])],
    [floats('x', [6], [6, 5, 4, 3, 2, 1]), int64s('shape', [2], [3n, 2n])],
  ],
  compute: (inputs) => {
    const { data } = input(inputs, 'shape');
    const dims = Array.from(new BigInt64Array(data.buffer.slice(data.byteOffset, data.byteOffset + 16)), Number);
    return [{ ...input(inputs, 'x'), name: 'y', dims }];
  },
  dataDependent: true,
};

const stringConcat: ConformanceModel = {
  name: 'string concat',
  bytes: stringConcatModel(),
  metadata: {
    inputs: [{ name: 'x', dtype: 'string', dims: ['N'] }],
    outputs: [{ name: 'y', dtype: 'string', dims: ['M'] }],
  },
  samples: [[strings('x', [2], ['warm', 'läne'])], [strings('x', [2], ['', 'x\0y'])]],
  compute: (inputs) => {
    const texts = decodeStrings(input(inputs, 'x').data);
    return [strings('y', [texts.length * 2], [...texts, ...texts])];
  },
  cpuOnly: true,
};

/** Every dtype, as a vector and as a scalar of int64, and the models whose shapes are odd. */
export const CONFORMANCE_MODELS: readonly ConformanceModel[] = [
  addSub,
  sqrt,
  anonymous,
  twoBatchAxes,
  nonZero,
  reshapeByInput,
  stringConcat,
  ...DTYPE_NAMES.map((dtype) => identity(dtype, [6])),
  identity('int64', []),
  identity('float32', [0]),
];
