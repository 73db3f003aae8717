import { type DType, decodeStrings, elementBytes, type Tensor } from '@warmlane/contracts';
import { check, type OrtApi, pointerInArray } from './api.js';
import { dtypeOfElement, elementType } from './dtypes.js';
import { filled, Handle, type MemoryInfoHandle, type Out, type Pointer, type ValueHandle } from './handle.js';
import { copyFrom, copyTo } from './host-buffer.js';
import { OrtError } from './ort-error.js';

function toInt64(dims: readonly number[]): BigInt64Array | null {
  return dims.length === 0 ? null : BigInt64Array.from(dims, BigInt);
}

function ownValue(api: OrtApi, pointer: Pointer<'Value'>): ValueHandle {
  return new Handle('Value', pointer, api.releaseValue);
}

/** ONNX Runtime's allocator of CPU memory; it belongs to the library and is never released. */
export function defaultAllocator(api: OrtApi): Pointer<'Allocator'> {
  const out: Out<Pointer<'Allocator'>> = [null];
  check(api, api.getAllocatorWithDefaultOptions(out));
  return filled(out, 'GetAllocatorWithDefaultOptions');
}

/** Where tensor memory lies. `device` is the CUDA device's number. */
export function createMemoryInfo(api: OrtApi, where: { provider: 'cpu' } | { provider: 'cuda'; device: number }) {
  const out: Out<Pointer<'MemoryInfo'>> = [null];
  const [name, id] = where.provider === 'cpu' ? (['Cpu', 0] as const) : (['Cuda', where.device] as const);
  const deviceAllocator = 0;
  const defaultMemory = 0;
  check(api, api.createMemoryInfo(name, deviceAllocator, id, defaultMemory, out));
  return new Handle('MemoryInfo', filled(out, 'CreateMemoryInfo'), api.releaseMemoryInfo);
}

/**
 * A tensor over memory of ours, host or device. The memory must outlive the value: close the value first. Strings have
 * no such form.
 */
export function valueOver(
  api: OrtApi,
  info: MemoryInfoHandle,
  memory: { address: bigint; bytes: number },
  dtype: DType,
  dims: readonly number[],
): ValueHandle {
  const out: Out<Pointer<'Value'>> = [null];
  check(
    api,
    api.createTensorOver(
      info.pointer,
      memory.address,
      memory.bytes,
      toInt64(dims),
      dims.length,
      elementType(dtype),
      out,
    ),
  );
  return ownValue(api, filled(out, 'CreateTensorWithDataAsOrtValue'));
}

/** A string tensor of empty strings, in the library's memory. */
export function createStrings(api: OrtApi, dims: readonly number[]): ValueHandle {
  const out: Out<Pointer<'Value'>> = [null];
  check(api, api.createTensor(defaultAllocator(api), toInt64(dims), dims.length, elementType('string'), out));
  return ownValue(api, filled(out, 'CreateTensorAsOrtValue'));
}

/** Overwrites a string tensor's elements from BYTES form, byte for byte: NULs and invalid UTF-8 included. */
export function fillStrings(api: OrtApi, value: ValueHandle, data: Uint8Array): void {
  decodeStrings(data).forEach((text, at) => {
    const out: Out<bigint> = [null];
    check(api, api.getResizedStringElement(value.pointer, at, text.byteLength, out));
    if (text.byteLength > 0) copyTo(filled(out, 'GetResizedStringTensorElementBuffer'), text);
  });
}

export interface TypeAndDims {
  dtype: DType;
  dims: number[];
}

/** Element type and concrete dims of a value. Throws `not-supported` for what is no tensor of a known type. */
export function typeAndDims(api: OrtApi, value: ValueHandle): TypeAndDims {
  const kind: Out<number> = [null];
  check(api, api.getValueType(value.pointer, kind));
  const tensor = 1;
  if (kind[0] !== tensor) {
    throw new OrtError('not-supported', 'the model gave a sequence, map or sparse tensor', 'Only tensors are served.');
  }
  const out: Out<Pointer<'TensorInfo'>> = [null];
  check(api, api.getTensorTypeAndShape(value.pointer, out));
  const info = filled(out, 'GetTensorTypeAndShape');
  try {
    return { dtype: readDtype(api, info), dims: readDims(api, info) };
  } finally {
    api.releaseTensorInfo(info);
  }
}

export function readDtype(api: OrtApi, info: Pointer<'TensorInfo'>): DType {
  const out: Out<number> = [null];
  check(api, api.getTensorElementType(info, out));
  const dtype = dtypeOfElement(out[0] ?? 0);
  if (dtype === null) {
    throw new OrtError('not-supported', `element type ${out[0]} of ONNX is not carried`, 'Cast it in the model.');
  }
  return dtype;
}

/** Dims as ONNX Runtime gives them: -1 where a dimension is not fixed. */
export function readDims(api: OrtApi, info: Pointer<'TensorInfo'>): number[] {
  const count: Out<number> = [null];
  check(api, api.getDimensionsCount(info, count));
  const rank = count[0] ?? 0;
  if (rank === 0) return [];
  const dims = new BigInt64Array(rank);
  check(api, api.getDimensions(info, dims, rank));
  return Array.from(dims, Number);
}

/** Copies a value in host memory out. */
export function readTensor(api: OrtApi, value: ValueHandle): Tensor {
  const { dtype, dims } = typeAndDims(api, value);
  const count = dims.reduce((product, dim) => product * dim, 1);
  const size = elementBytes(dtype);
  if (size === null) return { dtype, dims, data: readStrings(api, value, count) };
  if (count === 0) return { dtype, dims, data: new Uint8Array(0) };
  const out: Out<bigint> = [null];
  check(api, api.getTensorMutableData(value.pointer, out));
  return { dtype, dims, data: copyFrom(filled(out, 'GetTensorMutableData'), count * size) };
}

function readStrings(api: OrtApi, value: ValueHandle, count: number): Uint8Array {
  if (count === 0) return new Uint8Array(0);
  const length: Out<number> = [null];
  check(api, api.getStringTensorDataLength(value.pointer, length));
  const bytes = length[0] ?? 0;
  const text = Buffer.alloc(Math.max(1, bytes));
  const offsets = new BigUint64Array(count);
  check(api, api.getStringTensorContent(value.pointer, text, bytes, offsets, count));
  const out = Buffer.alloc(bytes + 4 * count);
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    const from = Number(offsets[i]);
    const to = i + 1 < count ? Number(offsets[i + 1]) : bytes;
    at = out.writeUInt32LE(to - from, at);
    at += text.copy(out, at, from, to);
  }
  return out;
}

/** Takes over the values of a C array of `OrtValue *` that the library allocated, and frees the array. */
export function takeValues(api: OrtApi, array: bigint, count: number): ValueHandle[] {
  const values: ValueHandle[] = [];
  for (let i = 0; i < count; i += 1) values.push(ownValue(api, pointerInArray(array, i) as Pointer<'Value'>));
  check(api, api.allocatorFree(defaultAllocator(api), array));
  return values;
}
