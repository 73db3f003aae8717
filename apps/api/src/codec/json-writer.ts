import { isUtf8 } from 'node:buffer';
import { type DType, decodeStrings, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { MAX_JSON_TENSOR_BYTES, tooLargeForJson } from './json-tensor.js';

const HINT = 'Ask for the binary form (output parameter binary_data, or binary_data_output of the request).';

function onlyBinary(name: string, problem: string): WarmlaneError {
  return new WarmlaneError('bad-request', `output '${name}' ${problem}, which JSON cannot carry: use binary`, HINT);
}

/** Refuses an output whose type has no JSON form, before anything is computed. Throws `bad-request`. */
export function checkJsonOutput(name: string, dtype: DType): void {
  if (dtype === 'float16') throw onlyBinary(name, 'is FP16');
  if (dtype === 'bfloat16') throw onlyBinary(name, 'is BF16');
}

/**
 * A tensor as the text of its flat `data` array. 64-bit integers keep every digit. Throws `bad-request` for NaN,
 * infinities, text that is not UTF-8 and types without a JSON form; `too-large` above {@link MAX_JSON_TENSOR_BYTES}.
 */
export function encodeJsonTensor(tensor: NamedTensor): string {
  if (tensor.data.byteLength > MAX_JSON_TENSOR_BYTES) {
    throw tooLargeForJson(`output '${tensor.name}'`, tensor.data.byteLength);
  }
  return `[${elements(tensor)}]`;
}

/** The bytes in a buffer of their own where they do not begin at a multiple of the element's size. */
function aligned(data: Uint8Array, elementBytes: number): [ArrayBuffer, number, number] {
  const count = data.byteLength / elementBytes;
  if (data.byteOffset % elementBytes === 0 && data.buffer instanceof ArrayBuffer) {
    return [data.buffer, data.byteOffset, count];
  }
  return [new Uint8Array(data).buffer, 0, count];
}

function elements(tensor: NamedTensor): string {
  const { data } = tensor;
  switch (tensor.dtype) {
    case 'float32':
      return finite(tensor.name, new Float32Array(...aligned(data, 4))).join(',');
    case 'float64':
      return finite(tensor.name, new Float64Array(...aligned(data, 8))).join(',');
    case 'int8':
      return new Int8Array(...aligned(data, 1)).join(',');
    case 'int16':
      return new Int16Array(...aligned(data, 2)).join(',');
    case 'int32':
      return new Int32Array(...aligned(data, 4)).join(',');
    case 'int64':
      return new BigInt64Array(...aligned(data, 8)).join(',');
    case 'uint8':
      return data.join(',');
    case 'uint16':
      return new Uint16Array(...aligned(data, 2)).join(',');
    case 'uint32':
      return new Uint32Array(...aligned(data, 4)).join(',');
    case 'uint64':
      return new BigUint64Array(...aligned(data, 8)).join(',');
    case 'bool':
      return Array.from(data, (byte) => (byte === 0 ? 'false' : 'true')).join(',');
    case 'string':
      return decodeStrings(data)
        .map((bytes) => {
          if (!isUtf8(bytes)) throw onlyBinary(tensor.name, 'holds bytes that are not UTF-8');
          return JSON.stringify(bytes.toString('utf8'));
        })
        .join(',');
    case 'float16':
      throw onlyBinary(tensor.name, 'is FP16');
    case 'bfloat16':
      throw onlyBinary(tensor.name, 'is BF16');
  }
}

function finite<T extends Float32Array | Float64Array>(name: string, values: T): T {
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at !== -1) throw onlyBinary(name, `holds ${String(values[at])} at element ${at}`);
  return values;
}
