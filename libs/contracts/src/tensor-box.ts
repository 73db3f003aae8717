import { WarmlaneError } from './errors.js';
import { elementBytes, elementCount, type NamedTensor, type Tensor } from './tensor.js';

/** Row-major bytes with their dims, and the corner of the box in them. */
export interface BoxSide {
  data: Uint8Array;
  dims: readonly number[];
  /** Same rank as `dims`. */
  at: readonly number[];
}

/** What a walk over a box of a tensor calls for each run of bytes that lie together on both sides. */
type Run = (toByte: number, fromByte: number, bytes: number) => void;

/** Copies a box of elements from one row-major tensor into another. The box must lie inside both. */
export function copyBox(to: BoxSide, from: BoxSide, size: readonly number[], bytesPerElement: number): void {
  walk(to, from, size, bytesPerElement, (toByte, fromByte, bytes) => {
    to.data.set(from.data.subarray(fromByte, fromByte + bytes), toByte);
  });
}

/** Writes the bytes of one element into every element of a box. */
export function fillBox(to: BoxSide, size: readonly number[], element: Uint8Array): void {
  const zero = element.every((byte) => byte === 0);
  const { buffer, byteOffset } = to.data;
  walk(to, to, size, element.byteLength, (toByte, _from, bytes) => {
    const run = Buffer.from(buffer, byteOffset + toByte, bytes);
    if (zero) run.fill(0);
    else run.fill(element);
  });
}

function walk(to: BoxSide, from: BoxSide, size: readonly number[], bytesPerElement: number, run: Run): void {
  if (size.some((extent) => extent === 0)) return;
  const rank = size.length;
  // Trailing axes that are whole on both sides lie together in memory.
  let inner = Math.max(0, rank - 1);
  let bytes = bytesPerElement * (size[inner] ?? 1);
  while (inner > 0 && size[inner] === to.dims[inner] && size[inner] === from.dims[inner]) {
    inner -= 1;
    bytes *= size[inner] ?? 1;
  }
  const toStrides = stridesOf(to.dims, bytesPerElement);
  const fromStrides = stridesOf(from.dims, bytesPerElement);
  let toByte = offsetOf(to.at, toStrides);
  let fromByte = offsetOf(from.at, fromStrides);
  const index = new Array<number>(inner).fill(0);
  for (;;) {
    run(toByte, fromByte, bytes);
    let axis = inner - 1;
    for (; axis >= 0; axis -= 1) {
      const next = (index[axis] ?? 0) + 1;
      const extent = size[axis] ?? 1;
      const [toStride, fromStride] = [toStrides[axis] ?? 0, fromStrides[axis] ?? 0];
      if (next < extent) {
        index[axis] = next;
        toByte += toStride;
        fromByte += fromStride;
        break;
      }
      index[axis] = 0;
      toByte -= (extent - 1) * toStride;
      fromByte -= (extent - 1) * fromStride;
    }
    if (axis < 0) return;
  }
}

function stridesOf(dims: readonly number[], bytesPerElement: number): number[] {
  const strides = new Array<number>(dims.length);
  let stride = bytesPerElement;
  for (let axis = dims.length - 1; axis >= 0; axis -= 1) {
    strides[axis] = stride;
    stride *= dims[axis] ?? 1;
  }
  return strides;
}

function offsetOf(at: readonly number[], strides: readonly number[]): number {
  return at.reduce((sum, place, axis) => sum + place * (strides[axis] ?? 0), 0);
}

/** Bytes of one element of a tensor that can be cut. Throws `not-supported` for strings, which have no fixed size. */
export function boxElementBytes(tensor: Pick<Tensor, 'dtype'>, what: string): number {
  const bytes = elementBytes(tensor.dtype);
  if (bytes !== null) return bytes;
  throw new WarmlaneError('not-supported', `${what} holds strings, which cannot be cut`, 'Send it without a batch.');
}

/** `dims` with another size on one axis. */
export function withSize(dims: readonly number[], axis: number, size: number): number[] {
  return dims.map((dim, at) => (at === axis ? size : dim));
}

/**
 * `count` places of a tensor along one axis, from `from` on. A view of the tensor's bytes where they lie together (the
 * axis is the first whose size is not 1), else a copy.
 */
export function sliceAxis<T extends NamedTensor>(tensor: T, axis: number, from: number, count: number): NamedTensor {
  const { name, dtype, dims } = tensor;
  const whole = dims[axis] ?? 0;
  if (from === 0 && count === whole) return tensor;
  if (from < 0 || from + count > whole) {
    throw new WarmlaneError(
      'internal',
      `'${name}' has ${whole} places on axis ${axis}, not ${from} to ${from + count}`,
    );
  }
  const { data } = tensor;
  const bytes = boxElementBytes(tensor, `'${name}'`);
  const sliced = withSize(dims, axis, count);
  if (dims.slice(0, axis).every((dim) => dim === 1)) {
    const perPlace = data.byteLength / whole;
    return { name, dtype, dims: sliced, data: data.subarray(from * perPlace, (from + count) * perPlace) };
  }
  const out = new Uint8Array(elementCount(sliced, `'${name}'`) * bytes);
  const at = withSize(zerosLike(dims), axis, from);
  copyBox({ data: out, dims: sliced, at: zerosLike(dims) }, { data, dims, at }, sliced, bytes);
  return { name, dtype, dims: sliced, data: out };
}

/** Tensors put one after the other along an axis. Throws `internal` where their other dims differ. */
export function joinAxis(parts: readonly NamedTensor[], axis: number): NamedTensor {
  const [first] = parts;
  if (first === undefined) throw new WarmlaneError('internal', 'nothing to join');
  if (parts.length === 1) return first;
  const { name, dtype } = first;
  const bytes = boxElementBytes(first, `'${name}'`);
  let size = 0;
  for (const part of parts) {
    size += part.dims[axis] ?? 0;
    const alike = part.dtype === dtype && sameDims(withSize(part.dims, axis, 0), withSize(first.dims, axis, 0));
    if (alike) continue;
    throw new WarmlaneError(
      'internal',
      `parts of '${name}' differ: ${first.dtype}[${first.dims.join(',')}] and ${part.dtype}[${part.dims.join(',')}]`,
    );
  }
  const dims = withSize(first.dims, axis, size);
  const data = new Uint8Array(elementCount(dims, `'${name}'`) * bytes);
  let at = 0;
  for (const part of parts) {
    const start = withSize(zerosLike(dims), axis, at);
    copyBox({ data, dims, at: start }, { data: part.data, dims: part.dims, at: zerosLike(dims) }, part.dims, bytes);
    at += part.dims[axis] ?? 0;
  }
  return { name, dtype, dims, data };
}

/** A copy of the first `size` places of each axis. Throws `internal` where the tensor is smaller. */
export function cropTensor(tensor: NamedTensor, size: readonly number[]): NamedTensor {
  const { name, dtype, dims, data } = tensor;
  if (size.length !== dims.length || size.some((extent, axis) => extent > (dims[axis] ?? 0))) {
    throw new WarmlaneError('internal', `'${name}' is [${dims.join(',')}], it holds no [${size.join(',')}]`);
  }
  const bytes = boxElementBytes(tensor, `'${name}'`);
  const out = new Uint8Array(elementCount(size, `'${name}'`) * bytes);
  copyBox({ data: out, dims: size, at: zerosLike(dims) }, { data, dims, at: zerosLike(dims) }, size, bytes);
  return { name, dtype, dims: [...size], data: out };
}

export function sameDims(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

function zerosLike(dims: readonly number[]): number[] {
  return dims.map(() => 0);
}
