import { createHash } from 'node:crypto';
import {
  type DType,
  elementCount,
  encodeStrings,
  type InputSample,
  type ModelConfig,
  type NamedTensor,
  printShapeKey,
  type TensorSpec,
  WarmlaneError,
} from '@warmlane/contracts';
import { toBfloat16, toFloat16 } from './half.js';
import type { NpyArray } from './npy.js';
import { randomSource } from './random.js';
import { SLICE, type Sliced } from './sliced.js';

/** Where the values of a lane's inputs come from. */
export interface SampleSource {
  /** SHA-256 of the model's files. */
  digest: string;
  inputs: ModelConfig['inputs'];
  /** What `file` entries of `inputs` name, by that name, with the SHA-256 of its bytes. */
  files: ReadonlyMap<string, { array: NpyArray; sha256: string }>;
}

/** The inputs of one verification run. */
export interface Sample {
  /** Equal for equal inputs of the same model: keys the reference's outputs on disk. */
  cacheKey: string;
  inputs: NamedTensor[];
}

export interface SampleSet {
  /** One or two that differ in at least one byte. */
  samples: Sample[];
  /** `guessed` where the configuration says nothing about at least one input. */
  inputs: 'declared' | 'guessed';
}

/** How many samples are asked for: two different ones show an output that does not depend on the input. */
const SAMPLES = 2;

/**
 * The samples of a lane, deterministic in model, shape and configuration. Throws `bad-request` where the configuration
 * names an input that the model lacks, a value that the dtype cannot hold or a file of another dtype or shape.
 */
export function* makeSamples(specs: readonly TensorSpec[], source: SampleSource): Sliced<SampleSet> {
  for (const name of Object.keys(source.inputs)) {
    if (!specs.some((spec) => spec.name === name)) {
      throw new WarmlaneError(
        'bad-request',
        `inputs: the model has no input '${name}'`,
        `Its inputs are ${specs.map((spec) => spec.name).join(', ')}.`,
      );
    }
  }
  const samples: Sample[] = [];
  for (let at = 0; at < SAMPLES; at += 1) {
    const inputs: NamedTensor[] = [];
    for (const spec of specs) inputs.push({ ...spec, data: yield* fillInput(spec, specs, source, at) });
    const first = samples[0];
    if (first !== undefined && sameBytes(first.inputs, inputs)) break;
    samples.push({ cacheKey: cacheKey(specs, source, at), inputs });
  }
  const guessed = specs.some((spec) => source.inputs[spec.name] === undefined);
  return { samples, inputs: guessed ? 'guessed' : 'declared' };
}

function cacheKey(specs: readonly TensorSpec[], source: SampleSource, at: number): string {
  const spec = specs.map(({ name }) => {
    const how = source.inputs[name];
    const file = how !== undefined && 'file' in how ? source.files.get(how.file) : undefined;
    return [name, how ?? null, file?.sha256 ?? null];
  });
  return createHash('sha256')
    .update(JSON.stringify([printShapeKey(specs), at, spec]))
    .digest('hex');
}

function sameBytes(a: readonly NamedTensor[], b: readonly NamedTensor[]): boolean {
  return a.every((input, at) => Buffer.compare(input.data, b[at]?.data ?? new Uint8Array()) === 0);
}

function* fillInput(
  spec: TensorSpec,
  specs: readonly TensorSpec[],
  source: SampleSource,
  at: number,
): Sliced<Uint8Array> {
  const how = source.inputs[spec.name];
  if (how !== undefined && 'file' in how) return fromFile(spec, how.file, source, at);
  const count = elementCount(spec.dims, `input '${spec.name}'`);
  if (spec.dtype === 'string') return strings(spec, how, count, at);
  const value = valueSource(spec, how, `${source.digest}\n${printShapeKey(specs)}\n${at}\n${spec.name}`, at);
  const writer = writers[spec.dtype](count);
  for (let start = 0; start < count; start += SLICE) {
    const end = Math.min(count, start + SLICE);
    for (let index = start; index < end; index += 1) writer.set(index, value(index));
    yield;
  }
  return writer.bytes;
}

/** The value of each element, by its index. */
function valueSource(
  spec: TensorSpec,
  how: Exclude<InputSample, { file: string }> | undefined,
  seed: string,
  at: number,
): (index: number) => number {
  const float = isFloat(spec.dtype);
  if (how === undefined) {
    if (float) {
      const random = randomSource(seed);
      return () => 2 * random() - 1;
    }
    // 0 and 1 in turn, the second sample the other way round: different for any size.
    return (index) => (index + at) % 2;
  }
  if ('zeros' in how) return () => 0;
  if ('random' in how) {
    const [low, high] = how.random;
    const random = randomSource(seed);
    if (float) return () => low + (high - low) * random();
    checkRange(spec, low);
    checkRange(spec, high);
    return () => Math.min(high, low + Math.floor((high - low + 1) * random()));
  }
  const values = how.values.map((value) => {
    const number = typeof value === 'boolean' ? Number(value) : value;
    if (typeof number === 'string') {
      throw new WarmlaneError('bad-request', `inputs: '${spec.name}' is ${spec.dtype}, '${number}' is a string`);
    }
    if (!float) checkRange(spec, number);
    return number;
  });
  return (index) => values[index % values.length] ?? 0;
}

function isFloat(dtype: DType): boolean {
  return dtype === 'float16' || dtype === 'bfloat16' || dtype === 'float32' || dtype === 'float64';
}

const RANGES: Partial<Record<DType, readonly [number, number]>> = {
  bool: [0, 1],
  uint8: [0, 2 ** 8 - 1],
  uint16: [0, 2 ** 16 - 1],
  uint32: [0, 2 ** 32 - 1],
  uint64: [0, Number.MAX_SAFE_INTEGER],
  int8: [-(2 ** 7), 2 ** 7 - 1],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
};

function checkRange(spec: TensorSpec, value: number): void {
  const [low, high] = RANGES[spec.dtype] ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw new WarmlaneError(
    'bad-request',
    `inputs: '${spec.name}' is ${spec.dtype}, it cannot hold ${value}`,
    `Use integers from ${low} to ${high}.`,
  );
}

function strings(
  spec: TensorSpec,
  how: Exclude<InputSample, { file: string }> | undefined,
  count: number,
  at: number,
): Uint8Array {
  if (how !== undefined && 'random' in how) {
    throw new WarmlaneError('bad-request', `inputs: '${spec.name}' is string, it cannot be random`, 'Use values.');
  }
  const values = how !== undefined && 'values' in how ? how.values.map(String) : null;
  return encodeStrings(
    Array.from({ length: count }, (_, index) => {
      if (values !== null) return values[index % values.length] ?? '';
      return how === undefined ? String((index + at) % 2) : '';
    }),
  );
}

function fromFile(spec: TensorSpec, name: string, source: SampleSource, at: number): Uint8Array {
  const array = source.files.get(name)?.array;
  const what = `inputs: '${spec.name}': ${name}`;
  if (array === undefined) throw new WarmlaneError('bad-request', `${what} was not read`, 'Load the model again.');
  const wanted = `${spec.dtype}[${spec.dims.join(',')}]`;
  const found = `${array.dtype}[${array.dims.join(',')}]`;
  const several = array.dims.length === spec.dims.length + 1;
  const fits =
    array.dtype === spec.dtype &&
    (several ? array.dims.slice(1) : array.dims).join(',') === spec.dims.join(',') &&
    (!several || (array.dims[0] ?? 0) > 0);
  if (!fits) {
    throw new WarmlaneError(
      'bad-request',
      `${what} is ${found}, the lane needs ${wanted}`,
      'Give it that shape, or with one axis more in front for several samples; or use random or values.',
    );
  }
  if (!several) return array.data;
  const count = array.dims[0] ?? 1;
  const bytes = array.data.byteLength / count;
  const from = (at % count) * bytes;
  return array.data.subarray(from, from + bytes);
}

interface Writer {
  bytes: Uint8Array;
  set(index: number, value: number): void;
}

type Numbers = { [index: number]: number; buffer: ArrayBufferLike };

function over(array: Numbers, encode: (value: number) => number = (value) => value): Writer {
  return {
    bytes: new Uint8Array(array.buffer),
    set: (index, value) => {
      array[index] = encode(value);
    },
  };
}

function over64(array: BigInt64Array | BigUint64Array): Writer {
  return {
    bytes: new Uint8Array(array.buffer),
    set: (index, value) => {
      array[index] = BigInt(value);
    },
  };
}

// Typed arrays are in the machine's order; every machine that ONNX Runtime's package runs on is little-endian.
const writers: Record<Exclude<DType, 'string'>, (count: number) => Writer> = {
  bool: (count) => over(new Uint8Array(count)),
  uint8: (count) => over(new Uint8Array(count)),
  uint16: (count) => over(new Uint16Array(count)),
  uint32: (count) => over(new Uint32Array(count)),
  uint64: (count) => over64(new BigUint64Array(count)),
  int8: (count) => over(new Int8Array(count)),
  int16: (count) => over(new Int16Array(count)),
  int32: (count) => over(new Int32Array(count)),
  int64: (count) => over64(new BigInt64Array(count)),
  float16: (count) => over(new Uint16Array(count), toFloat16),
  bfloat16: (count) => over(new Uint16Array(count), toBfloat16),
  float32: (count) => over(new Float32Array(count)),
  float64: (count) => over(new Float64Array(count)),
};
