import { WarmlaneError } from './errors.js';
import { type DType, isDType, type TensorSpec, tensorBytes } from './tensor.js';

/** One input of a shape class: its batch axis carries `b` in place of the size. */
export interface ClassInput {
  name: string;
  dtype: DType;
  dims: (number | 'b')[];
}

const RESERVED = /[%:;[\],/\s]/gu;
const PART = /^([^:]*):([a-z0-9]+)\[([^\]]*)\]$/;
const DIM = /^(0|[1-9][0-9]*)$/;

/** Percent-encodes `% : ; [ ] , /` and white space (UTF-8, upper-case hex); everything else stays as it is. */
export function encodeName(name: string): string {
  return name.replace(RESERVED, (char) =>
    Array.from(Buffer.from(char, 'utf8'), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  );
}

/** Inverse of {@link encodeName}. Throws `bad-request` on a broken escape. */
export function decodeName(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new WarmlaneError('bad-request', `shape key: '${text}' holds a broken percent-escape`);
  }
}

/** Inputs in the model's order -> shape key, `x:float32[1,3,48,320]`. */
export function printShapeKey(inputs: readonly TensorSpec[]): string {
  return inputs.map((input) => `${encodeName(input.name)}:${input.dtype}[${input.dims.join(',')}]`).join(';');
}

/** Shape class -> text; the batch dimension is written `b`. */
export function printShapeClass(inputs: readonly ClassInput[]): string {
  return inputs.map((input) => `${encodeName(input.name)}:${input.dtype}[${input.dims.join(',')}]`).join(';');
}

/**
 * Inverse of {@link printShapeKey}. Throws `bad-request` that names the offending part. Only the canonical form is
 * accepted: no spaces, no leading zeros, reserved characters encoded, so that equal shapes have equal keys.
 */
export function parseShapeKey(text: string): TensorSpec[] {
  const inputs = text.split(';').map((part) => parsePart(part, text));
  const seen = new Set<string>();
  for (const { name } of inputs) {
    if (seen.has(name)) throw new WarmlaneError('bad-request', `shape key '${text}' names input '${name}' twice`);
    seen.add(name);
  }
  if (printShapeKey(inputs) !== text) {
    throw new WarmlaneError('bad-request', `shape key '${text}' is not canonical`, `Write it ${printShapeKey(inputs)}`);
  }
  return inputs;
}

/** Inverse of {@link printShapeClass}. Throws `bad-request` for what it never prints. */
export function parseShapeClass(text: string): ClassInput[] {
  return text.split(';').map((part) => {
    const [, name = '', dtype = '', dims = ''] = PART.exec(part) ?? [];
    const sizes = dims === '' ? [] : dims.split(',');
    if (!isDType(dtype) || !sizes.every((size) => size === 'b' || DIM.test(size))) {
      throw new WarmlaneError('bad-request', `'${text}' is no shape class`, 'For example x:float32[b,3,48,320].');
    }
    return { name: decodeName(name), dtype, dims: sizes.map((size) => (size === 'b' ? size : Number(size))) };
  });
}

function parsePart(part: string, whole: string): TensorSpec {
  const match = PART.exec(part);
  if (match === null) {
    throw new WarmlaneError(
      'bad-request',
      `shape key '${whole}': '${part}' is not name:dtype[d0,d1,...]`,
      'For example x:float32[1,3,48,320]; a scalar is name:int64[]; inputs are joined by ;',
    );
  }
  const [, name = '', dtype = '', dims = ''] = match;
  if (!isDType(dtype)) {
    throw new WarmlaneError(
      'bad-request',
      `shape key '${whole}': unknown dtype '${dtype}'`,
      'Use numpy names such as float32, int64, bool, string.',
    );
  }
  const sizes = dims === '' ? [] : dims.split(',');
  for (const size of sizes) {
    if (!DIM.test(size)) {
      throw new WarmlaneError('bad-request', `shape key '${whole}': dimension '${size}' is not a non-negative integer`);
    }
  }
  const spec = { name: decodeName(name), dtype, dims: sizes.map(Number) };
  tensorBytes(spec, `shape key '${whole}'`);
  return spec;
}
