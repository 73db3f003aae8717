import {
  type DType,
  decodeStrings,
  elementBytes,
  elementCount,
  encodeStrings,
  isDType,
  type NamedTensor,
  WarmlaneError,
} from '@warmlane/contracts';
import { Tensor } from 'onnxruntime-node';
import { bfloat16ToFloat32, float32ToBfloat16 } from './bfloat16.js';

interface View {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): Exclude<Tensor['data'], string[]>;
}

/** How onnxruntime-node wants the elements. float16 are bits; bool one byte each; bfloat16 it does not have at all. */
const VIEWS: Record<Exclude<DType, 'string' | 'bfloat16'>, View> = {
  bool: Uint8Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  float16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
};

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** A tensor of onnxruntime-node over the same bytes (a copy where they are not aligned). Throws `bad-request`. */
export function toOrt(tensor: NamedTensor): Tensor {
  const { dtype, dims } = tensor;
  if (dtype === 'string') return new Tensor('string', decodeStrings(tensor.data).map(text(tensor.name)), dims);
  const size = elementBytes(dtype) ?? 1;
  const count = elementCount(dims, `input '${tensor.name}'`);
  if (tensor.data.byteLength !== count * size) {
    throw new WarmlaneError(
      'bad-request',
      `input '${tensor.name}': got ${tensor.data.byteLength} bytes, expected ${count * size} for ${dtype}[${dims.join(',')}]`,
    );
  }
  const data = tensor.data.byteOffset % size === 0 ? tensor.data : Uint8Array.from(tensor.data);
  if (dtype === 'bfloat16') return new Tensor('float32', bfloat16ToFloat32(data), dims);
  return new Tensor(dtype, new VIEWS[dtype](data.buffer, data.byteOffset, count), dims);
}

function text(name: string): (bytes: Uint8Array) => string {
  return (bytes) => {
    if (bytes.includes(0)) {
      throw new WarmlaneError(
        'not-supported',
        `input '${name}': an element has a NUL character, where onnxruntime-node would cut it off`,
        'Send strings without NUL.',
      );
    }
    try {
      return UTF8.decode(bytes);
    } catch (cause) {
      throw new WarmlaneError(
        'bad-request',
        `input '${name}': an element is not UTF-8`,
        'ONNX strings are UTF-8; send other bytes as uint8.',
        { cause },
      );
    }
  };
}

/** The bytes of an output; `declared` is the model's dtype, which says where float32 stands for bfloat16. */
export function fromOrt(name: string, tensor: Tensor, declared: DType): NamedTensor {
  const dims = [...tensor.dims];
  const { data } = tensor;
  if (Array.isArray(data)) return { name, dtype: 'string', dims, data: encodeStrings(data) };
  if (declared === 'bfloat16' && data instanceof Float32Array) {
    return { name, dtype: declared, dims, data: float32ToBfloat16(data) };
  }
  if (!isDType(tensor.type)) {
    throw new WarmlaneError('not-supported', `output '${name}' has dtype ${tensor.type}`, 'Leave this output out.');
  }
  return { name, dtype: tensor.type, dims, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}
