import { type DType, type InputSample, type TensorSpec, WarmlaneError } from '@warmlane/contracts';
import { toBfloat16, toFloat16 } from './half.js';
import { randomSource } from './random.js';

/** Which sample the values are for. */
export interface Variant {
  /** Text that the random numbers follow from. */
  seed: string;
  at: number;
  /** More than two samples are asked for, as different as the configuration allows. */
  varied: boolean;
}

/** The value of each element, by its index. */
export function valueSource(
  spec: TensorSpec,
  how: Exclude<InputSample, { file: string }> | undefined,
  { seed, at, varied }: Variant,
): (index: number) => number {
  const float = isFloat(spec.dtype);
  if (how === undefined) {
    if (float) {
      const random = randomSource(seed);
      return () => 2 * random() - 1;
    }
    if (varied) {
      const random = randomSource(seed);
      return () => (random() < 0.5 ? 0 : 1);
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
  const shift = varied ? at : 0;
  return (index) => values[(index + shift) % values.length] ?? 0;
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

function checkRange(spec: Pick<TensorSpec, 'name' | 'dtype'>, value: number, where = 'inputs'): void {
  const [low, high] = RANGES[spec.dtype] ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw new WarmlaneError(
    'bad-request',
    `${where}: '${spec.name}' is ${spec.dtype}, it cannot hold ${value}`,
    `Use integers from ${low} to ${high}.`,
  );
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
export const writers: Record<Exclude<DType, 'string'>, (count: number) => Writer> = {
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

/**
 * The bytes of one element of a value with which an input is padded. Throws `bad-request` where its dtype cannot hold it,
 * and for strings.
 */
export function padBytes(input: Pick<TensorSpec, 'name' | 'dtype'>, value: number): number[] {
  const { dtype } = input;
  if (dtype === 'string') {
    throw new WarmlaneError('bad-request', `pad: '${input.name}' holds strings`, 'Only numbers can be padded.');
  }
  if (!isFloat(dtype)) checkRange(input, value, 'pad');
  const writer = writers[dtype](1);
  writer.set(0, value);
  return Array.from(writer.bytes);
}
