const scratch = new DataView(new ArrayBuffer(4));

/** IEEE half precision, from its 16 bits. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The 16 bits nearest to a number, ties to even; beyond 65504 infinity. */
export function toFloat16(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200);
  const unbiased = exponent - 127;
  if (unbiased > 15) return sign | 0x7c00;
  if (unbiased < -25) return sign;
  if (unbiased < -14) return sign | roundShift(fraction | 0x800000, -unbiased - 1);
  // A carry out of the fraction rightly increments the exponent (and ends in infinity).
  return sign | (((unbiased + 15) << 10) + roundShift(fraction, 13));
}

/** bfloat16, from its 16 bits. */
export function fromBfloat16(bits: number): number {
  scratch.setUint32(0, (bits << 16) >>> 0);
  return scratch.getFloat32(0);
}

/** The upper half of a float32, ties to even. */
export function toBfloat16(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40;
  return roundShift(bits, 16) & 0xffff;
}

function roundShift(value: number, by: number): number {
  const kept = Math.floor(value / 2 ** by);
  const rest = value - kept * 2 ** by;
  const middle = 2 ** (by - 1);
  return rest > middle || (rest === middle && kept % 2 === 1) ? kept + 1 : kept;
}
