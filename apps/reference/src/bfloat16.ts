/** bfloat16 is the upper half of a float32. `data`: little-endian, two bytes per element, aligned to 2. */
export function bfloat16ToFloat32(data: Uint8Array): Float32Array {
  const bits = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
  const out = new Uint32Array(bits.length);
  for (let at = 0; at < bits.length; at++) out[at] = (bits[at] ?? 0) << 16;
  return new Float32Array(out.buffer);
}

/** Rounds to nearest, ties to even, as ONNX Runtime's Cast does; a NaN stays a NaN. */
export function float32ToBfloat16(values: Float32Array): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let at = 0; at < bits.length; at++) {
    const word = bits[at] ?? 0;
    const isNaNBits = (word & 0x7fffffff) > 0x7f800000;
    out[at] = isNaNBits ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(out.buffer);
}
