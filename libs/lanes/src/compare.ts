import { type DType, elementBytes, elementCount, type ModelMetadata, type NamedTensor } from '@warmlane/contracts';
import { fromBfloat16, fromFloat16 } from './half.js';
import { SLICE, type Sliced } from './sliced.js';

/** Below this norm of the reference the error is absolute, not relative. */
const SMALL_NORM = 1e-12;

export interface OutputError {
  output: string;
  dtype: DType;
  /** Worst over batch items; Infinity where something must be equal and is not, or is NaN or Inf where it must not be. */
  error: number;
  /** Says what is wrong where `error` is Infinity; else empty. */
  reason: string;
}

/**
 * Axis 0 of an output holds batch items where the model declares the same symbol there and on axis 0 of an input.
 * @returns the names of such outputs
 */
export function batchedOutputs(metadata: ModelMetadata): Set<string> {
  const symbols = new Set(metadata.inputs.map((input) => input.dims[0]).filter((dim) => typeof dim === 'string'));
  symbols.delete('');
  return new Set(
    metadata.outputs
      .filter((output) => typeof output.dims[0] === 'string' && symbols.has(output.dims[0]))
      .map((output) => output.name),
  );
}

/**
 * Error of outputs against the reference's, one entry per output of the reference. Floats: relative L2 per batch item;
 * NaN and Inf only where the reference has them. Integers, bools and strings: equal.
 */
export function* compareOutputs(
  got: readonly NamedTensor[],
  reference: readonly NamedTensor[],
  batched: ReadonlySet<string>,
): Sliced<OutputError[]> {
  const errors: OutputError[] = [];
  for (const expected of reference) {
    const found = got.find((tensor) => tensor.name === expected.name);
    errors.push(yield* compareOutput(found, expected, batched.has(expected.name)));
  }
  return errors;
}

function* compareOutput(got: NamedTensor | undefined, expected: NamedTensor, batched: boolean): Sliced<OutputError> {
  const base = { output: expected.name, dtype: expected.dtype };
  const wrong = (reason: string): OutputError => ({ ...base, error: Number.POSITIVE_INFINITY, reason });
  if (got === undefined) return wrong(`output '${expected.name}' is missing`);
  const what = (tensor: NamedTensor) => `${tensor.dtype}[${tensor.dims.join(',')}]`;
  if (what(got) !== what(expected) || (expected.dtype !== 'string' && got.data.length !== expected.data.length)) {
    return wrong(`output '${expected.name}' is ${what(got)}, the reference's ${what(expected)}`);
  }
  const read = floatReader(expected);
  const readGot = floatReader(got);
  if (read === null || readGot === null) {
    const equal = Buffer.compare(got.data, expected.data) === 0;
    return equal ? { ...base, error: 0, reason: '' } : wrong(`output '${expected.name}' differs from the reference's`);
  }
  const floats = got.dtype === 'float32' ? ([floatsOf(got), floatsOf(expected)] as const) : null;
  const count = elementCount(expected.dims, `output '${expected.name}'`);
  const items = batched ? Math.max(1, expected.dims[0] ?? 1) : 1;
  const perItem = count / items;
  let worst = 0;
  for (let item = 0; item < items; item += 1) {
    let difference = 0;
    let norm = 0;
    for (let start = item * perItem; start < (item + 1) * perItem; start += SLICE) {
      const end = Math.min((item + 1) * perItem, start + SLICE);
      const sums = floats === null ? null : sumsOf(floats, start, end);
      for (let index = sums === null ? start : end; index < end; index += 1) {
        const want = read(index);
        const have = readGot(index);
        if (Number.isFinite(want) && Number.isFinite(have)) {
          difference += (have - want) * (have - want);
          norm += want * want;
        } else if (!Object.is(want, have)) {
          return wrong(`output '${expected.name}' is ${have} at element ${index}, the reference's ${want}`);
        }
      }
      difference += sums?.difference ?? 0;
      norm += sums?.norm ?? 0;
      yield;
    }
    const length = Math.sqrt(norm);
    worst = Math.max(worst, length < SMALL_NORM ? Math.sqrt(difference) : Math.sqrt(difference) / length);
  }
  return { ...base, error: worst, reason: '' };
}

/** @returns null where something is NaN or Inf there, so that each element has to be looked at */
function sumsOf(
  [got, reference]: readonly [Float32Array, Float32Array],
  start: number,
  end: number,
): { difference: number; norm: number } | null {
  let difference = 0;
  let norm = 0;
  for (let index = start; index < end; index += 1) {
    const want = reference[index] as number;
    const off = (got[index] as number) - want;
    difference += off * off;
    norm += want * want;
  }
  // Squares of float32 are far from the largest double: only NaN and Inf make a sum that is not finite.
  return Number.isFinite(difference + norm) ? { difference, norm } : null;
}

/** True where a float tensor holds NaN. An output that nothing wrote after it was poisoned does. */
export function* holdsNaN(tensors: readonly NamedTensor[]): Sliced<boolean> {
  for (const tensor of tensors) {
    const read = floatReader(tensor);
    if (read === null) continue;
    const count = elementCount(tensor.dims, `output '${tensor.name}'`);
    for (let start = 0; start < count; start += SLICE) {
      const end = Math.min(count, start + SLICE);
      for (let index = start; index < end; index += 1) if (Number.isNaN(read(index))) return true;
      yield;
    }
  }
  return false;
}

/** Elements of a float tensor as numbers; null for other dtypes. */
function floatReader(tensor: NamedTensor): ((index: number) => number) | null {
  const size = elementBytes(tensor.dtype);
  if (size === null) return null;
  const { buffer, byteOffset, byteLength } = aligned(tensor.data, size);
  switch (tensor.dtype) {
    case 'float32': {
      const array = new Float32Array(buffer, byteOffset, byteLength / 4);
      return (index) => array[index] ?? Number.NaN;
    }
    case 'float64': {
      const array = new Float64Array(buffer, byteOffset, byteLength / 8);
      return (index) => array[index] ?? Number.NaN;
    }
    case 'float16':
    case 'bfloat16': {
      const array = new Uint16Array(buffer, byteOffset, byteLength / 2);
      const decode = tensor.dtype === 'float16' ? fromFloat16 : fromBfloat16;
      return (index) => decode(array[index] ?? 0);
    }
    case 'bool':
    case 'string':
    case 'int8':
    case 'int16':
    case 'int32':
    case 'int64':
    case 'uint8':
    case 'uint16':
    case 'uint32':
    case 'uint64':
      return null;
  }
}

function floatsOf({ data }: NamedTensor): Float32Array {
  const { buffer, byteOffset, byteLength } = aligned(data, 4);
  return new Float32Array(buffer, byteOffset, byteLength / 4);
}

/** Bytes that came over a pipe may start anywhere; typed arrays need their own alignment. */
function aligned(data: Uint8Array, size: number): Uint8Array {
  return data.byteOffset % size === 0 ? data : new Uint8Array(data);
}
