import { WarmlaneError } from './errors.js';

/** Numpy dtype name -> the protocol's datatype and the bytes of one element (null: variable, BYTES form). */
const DTYPES = {
  bool: { datatype: 'BOOL', bytes: 1 },
  uint8: { datatype: 'UINT8', bytes: 1 },
  uint16: { datatype: 'UINT16', bytes: 2 },
  uint32: { datatype: 'UINT32', bytes: 4 },
  uint64: { datatype: 'UINT64', bytes: 8 },
  int8: { datatype: 'INT8', bytes: 1 },
  int16: { datatype: 'INT16', bytes: 2 },
  int32: { datatype: 'INT32', bytes: 4 },
  int64: { datatype: 'INT64', bytes: 8 },
  float16: { datatype: 'FP16', bytes: 2 },
  bfloat16: { datatype: 'BF16', bytes: 2 },
  float32: { datatype: 'FP32', bytes: 4 },
  float64: { datatype: 'FP64', bytes: 8 },
  string: { datatype: 'BYTES', bytes: null },
} as const;

export type DType = keyof typeof DTYPES;
export type Datatype = (typeof DTYPES)[DType]['datatype'];

export const DTYPE_NAMES = Object.keys(DTYPES) as DType[];
export const DATATYPE_NAMES = Object.values(DTYPES).map((d) => d.datatype) as Datatype[];

/**
 * A tensor's bytes: little-endian, row-major, no padding. Strings are in the binary extension's BYTES form: per element
 * a 4-byte little-endian length, then the bytes.
 */
export interface Tensor {
  dtype: DType;
  /** Concrete, non-negative. `[]` is a scalar. */
  dims: number[];
  data: Uint8Array;
}

export interface NamedTensor extends Tensor {
  name: string;
}

/** Name, dtype and dims of a tensor without its bytes. */
export interface TensorSpec {
  name: string;
  dtype: DType;
  dims: number[];
}

export function isDType(text: string): text is DType {
  return Object.hasOwn(DTYPES, text);
}

export function datatypeOf(dtype: DType): Datatype {
  return DTYPES[dtype].datatype;
}

const BY_DATATYPE = new Map<string, DType>(DTYPE_NAMES.map((name) => [DTYPES[name].datatype, name]));

/** The dtype of a protocol datatype (`FP32` -> `float32`), or null for an unknown one. */
export function dtypeOf(datatype: string): DType | null {
  return BY_DATATYPE.get(datatype) ?? null;
}

/** Bytes of one element; null for `string`, whose elements vary. */
export function elementBytes(dtype: DType): number | null {
  return DTYPES[dtype].bytes;
}

/** Largest tensor that is accepted anywhere: 1 GiB. */
export const MAX_TENSOR_BYTES = 2 ** 30;

/** Number of elements; throws `bad-request` for negative, fractional or absurdly large dims. */
export function elementCount(dims: readonly number[], what: string): number {
  let count = 1;
  for (const dim of dims) {
    if (!Number.isInteger(dim) || dim < 0) {
      throw new WarmlaneError('bad-request', `${what}: dimension ${dim} is not a non-negative integer`);
    }
    count *= dim;
    if (dim > MAX_TENSOR_BYTES || count > MAX_TENSOR_BYTES) {
      throw new WarmlaneError(
        'bad-request',
        `${what}: shape [${dims.join(',')}] has more than ${MAX_TENSOR_BYTES} elements`,
        'Send a smaller tensor.',
      );
    }
  }
  return count;
}

/** Bytes of a tensor of fixed-size elements; null for `string`. Throws as {@link elementCount}. */
export function tensorBytes(spec: { dtype: DType; dims: readonly number[] }, what: string): number | null {
  const size = elementBytes(spec.dtype);
  const count = elementCount(spec.dims, what);
  if (size === null) return null;
  if (count * size > MAX_TENSOR_BYTES) {
    throw new WarmlaneError(
      'bad-request',
      `${what}: ${count * size} bytes, more than ${MAX_TENSOR_BYTES}`,
      'Send a smaller tensor.',
    );
  }
  return count * size;
}

/** Throws `bad-request` unless the bytes are exactly what dtype and dims say (for strings: well-formed BYTES). */
export function checkTensorBytes(tensor: NamedTensor): void {
  const what = `input '${tensor.name}'`;
  const expected = tensorBytes(tensor, what);
  if (expected !== null) {
    if (tensor.data.byteLength !== expected) {
      throw new WarmlaneError(
        'bad-request',
        `${what}: got ${tensor.data.byteLength} bytes, expected ${expected} for ${tensor.dtype}[${tensor.dims.join(',')}]`,
      );
    }
    return;
  }
  const count = elementCount(tensor.dims, what);
  const found = countBytesElements(tensor.data);
  if (found !== count) {
    throw new WarmlaneError(
      'bad-request',
      `${what}: ${found === null ? 'malformed BYTES data' : `${found} elements`}, expected ${count} for string[${tensor.dims.join(',')}]`,
      'Each element is a 4-byte little-endian length followed by its bytes.',
    );
  }
}

function countBytesElements(data: Uint8Array): number | null {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = 0;
  let count = 0;
  while (at < data.byteLength) {
    if (at + 4 > data.byteLength) return null;
    at += 4 + view.getUint32(at, true);
    if (at > data.byteLength) return null;
    count += 1;
  }
  return count;
}

/** Strings -> BYTES form. */
export function encodeStrings(values: readonly (string | Uint8Array)[]): Uint8Array {
  const parts = values.map((value) => (typeof value === 'string' ? Buffer.from(value, 'utf8') : value));
  const out = Buffer.alloc(parts.reduce((sum, part) => sum + 4 + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    at = out.writeUInt32LE(part.byteLength, at);
    out.set(part, at);
    at += part.byteLength;
  }
  return out;
}

/** BYTES form -> one Buffer per element. Throws `bad-request` on malformed data. */
export function decodeStrings(data: Uint8Array): Buffer[] {
  if (countBytesElements(data) === null) throw new WarmlaneError('bad-request', 'malformed BYTES data');
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const length = bytes.readUInt32LE(at);
    out.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return out;
}
