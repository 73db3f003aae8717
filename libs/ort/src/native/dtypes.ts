import type { DType } from '@warmlane/contracts';

/** ONNXTensorElementDataType of onnxruntime_c_api.h. */
const ELEMENT_TYPES: Record<DType, number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
};

const BY_ELEMENT_TYPE = new Map<number, DType>(
  Object.entries(ELEMENT_TYPES).map(([dtype, type]) => [type, dtype as DType]),
);

export function elementType(dtype: DType): number {
  return ELEMENT_TYPES[dtype];
}

/** Null for types that Warmlane does not carry (complex, 4-bit and 8-bit floats). */
export function dtypeOfElement(type: number): DType | null {
  return BY_ELEMENT_TYPE.get(type) ?? null;
}
