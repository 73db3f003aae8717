import { type DType, datatypeOf, elementCount, encodeStrings, WarmlaneError } from '@warmlane/contracts';
import { endOfString, endsToken, isSpace, type JsonSpan, jsonError, readString, tokenAt } from './json-reader.js';

/** Largest tensor that is taken from JSON or written as JSON; above it a text costs more than the run itself. */
export const MAX_JSON_TENSOR_BYTES = 4 * 2 ** 20;

const POWERS = Float64Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));
const MINUS = 0x2d;
const ZERO = 0x30;
const DOT = 0x2e;

const INTEGER_RANGE = {
  int8: [-(2 ** 7), 2 ** 7 - 1],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint8: [0, 2 ** 8 - 1],
  uint16: [0, 2 ** 16 - 1],
  uint32: [0, 2 ** 32 - 1],
} as const;
const LONG_RANGE = { int64: [-(2n ** 63n), 2n ** 63n - 1n], uint64: [0n, 2n ** 64n - 1n] } as const;

const LONE_SURROGATE = /\p{Surrogate}/u;

interface Target {
  name: string;
  dtype: DType;
  dims: readonly number[];
}

export function tooLargeForJson(what: string, bytes: number): WarmlaneError {
  return new WarmlaneError(
    'too-large',
    `${what} has ${bytes} bytes; a JSON tensor may have ${MAX_JSON_TENSOR_BYTES}: use binary`,
    'Send the tensor in the binary form (header Inference-Header-Content-Length, parameter binary_data_size).',
  );
}

/**
 * The `data` array of a JSON tensor, flat or nested, as the tensor's bytes. Throws `bad-request` that names the input,
 * the position in the text and what was expected; `too-large` above {@link MAX_JSON_TENSOR_BYTES}.
 */
export function decodeJsonTensor(bytes: Buffer, span: JsonSpan, target: Target): Uint8Array {
  const what = `input '${target.name}'`;
  const count = elementCount(target.dims, what);
  if (target.dtype === 'string') return decodeText(bytes, span, count, what);
  const sink = makeSink(target.dtype, count, what);
  const found = eachScalar(bytes, span, count, (start, end, index) => {
    const problem = sink.put(bytes, start, end, index);
    if (problem !== null) {
      throw new WarmlaneError(
        'bad-request',
        `${what}: ${problem} at position ${start} (element ${index})`,
        `Expected ${datatypeOf(target.dtype)} values.`,
      );
    }
  });
  if (found !== count) throw wrongCount(what, found, target.dims);
  return sink.bytes;
}

function decodeText(bytes: Buffer, span: JsonSpan, count: number, what: string): Uint8Array {
  const values: string[] = [];
  let size = 0;
  const found = eachScalar(bytes, span, count, (start, end, index) => {
    if (bytes[start] !== 0x22) {
      throw new WarmlaneError(
        'bad-request',
        `${what}: ${quote(bytes, start)} at position ${start} (element ${index}) is not a string`,
        'Elements of a BYTES tensor are strings in JSON.',
      );
    }
    const value = readString(bytes, start, end);
    if (LONE_SURROGATE.test(value)) throw jsonError('half of a surrogate pair, which has no UTF-8 form', start);
    size += 4 + Buffer.byteLength(value);
    if (size > MAX_JSON_TENSOR_BYTES) throw tooLargeForJson(what, size);
    values.push(value);
  });
  if (found !== count) throw wrongCount(what, found, [count]);
  return encodeStrings(values);
}

function wrongCount(what: string, found: number, dims: readonly number[]): WarmlaneError {
  const count = dims.reduce((product, dim) => product * dim, 1);
  const given = found > count ? `more than ${count}` : String(found);
  return new WarmlaneError(
    'bad-request',
    `${what}: data has ${given} elements, expected ${count} for [${dims.join(',')}]`,
  );
}

/**
 * Walks a flat or nested array and visits its scalars in order; the answer is their number. Stops one past `limit`, so
 * that a huge array of a small shape is not read to its end.
 */
function eachScalar(
  bytes: Buffer,
  span: JsonSpan,
  limit: number,
  visit: (start: number, end: number, index: number) => void,
): number {
  let at = span.start;
  let depth = 0;
  let index = 0;
  /** True where a value may stand: after `[` or a comma. */
  let wanted = true;
  let afterComma = false;
  while (at < span.end) {
    const byte = bytes[at];
    if (isSpace(byte)) {
      at += 1;
    } else if (byte === 0x5b) {
      if (!wanted) throw jsonError("expected ',' or ']'", at);
      depth += 1;
      afterComma = false;
      at += 1;
    } else if (byte === 0x5d) {
      if (afterComma) throw jsonError("a value after ','", at);
      depth -= 1;
      wanted = false;
      at += 1;
    } else if (byte === 0x2c) {
      if (wanted) throw jsonError('expected a value', at);
      wanted = true;
      afterComma = true;
      at += 1;
    } else {
      if (!wanted || depth === 0) throw jsonError("expected ',' or ']'", at);
      if (byte === 0x7b) throw jsonError('an object in tensor data', at);
      const end = byte === 0x22 ? endOfString(bytes, at) : endOfToken(bytes, at);
      if (index >= limit) return index + 1;
      visit(at, end, index);
      index += 1;
      wanted = false;
      afterComma = false;
      at = end;
    }
  }
  return index;
}

function endOfToken(bytes: Buffer, start: number): number {
  let at = start;
  while (!endsToken(bytes[at])) at += 1;
  if (at === start) throw jsonError(`unexpected '${bytes.toString('latin1', at, at + 1)}'`, at);
  return at;
}

function quote(bytes: Buffer, start: number): string {
  return bytes[start] === 0x22 ? 'a string' : `'${tokenAt(bytes, start)}'`;
}

interface Sink {
  bytes: Uint8Array;
  /** Reads one scalar; the answer says what is wrong with it, or null. */
  put(bytes: Buffer, start: number, end: number, index: number): string | null;
}

function allocate(count: number, elementBytes: number, what: string): ArrayBuffer {
  const size = count * elementBytes;
  if (size > MAX_JSON_TENSOR_BYTES) throw tooLargeForJson(what, size);
  return new ArrayBuffer(size);
}

function makeSink(dtype: Exclude<DType, 'string'>, count: number, what: string): Sink {
  switch (dtype) {
    case 'float32':
      return floatSink(new Float32Array(allocate(count, 4, what)), 'FP32');
    case 'float64':
      return floatSink(new Float64Array(allocate(count, 8, what)), 'FP64');
    case 'int8':
      return integerSink(new Int8Array(allocate(count, 1, what)), dtype);
    case 'int16':
      return integerSink(new Int16Array(allocate(count, 2, what)), dtype);
    case 'int32':
      return integerSink(new Int32Array(allocate(count, 4, what)), dtype);
    case 'uint8':
      return integerSink(new Uint8Array(allocate(count, 1, what)), dtype);
    case 'uint16':
      return integerSink(new Uint16Array(allocate(count, 2, what)), dtype);
    case 'uint32':
      return integerSink(new Uint32Array(allocate(count, 4, what)), dtype);
    case 'int64':
      return longSink(new BigInt64Array(allocate(count, 8, what)), dtype);
    case 'uint64':
      return longSink(new BigUint64Array(allocate(count, 8, what)), dtype);
    case 'bool':
      return boolSink(new Uint8Array(allocate(count, 1, what)));
    case 'float16':
    case 'bfloat16':
      throw new WarmlaneError(
        'bad-request',
        `${what}: ${datatypeOf(dtype)} has no JSON form`,
        'Send it in the binary form (parameter binary_data_size).',
      );
  }
}

function notNumber(bytes: Buffer, start: number): string {
  const token = tokenAt(bytes, start);
  if (/^-?(nan|inf(inity)?)$/i.test(token)) return `'${token}', which JSON cannot carry: use binary`;
  return `${quote(bytes, start)} is not a number`;
}

function floatSink(out: Float32Array | Float64Array, datatype: string): Sink {
  return {
    bytes: new Uint8Array(out.buffer),
    put(bytes, start, end, index) {
      const value = readNumber(bytes, start, end);
      if (Number.isNaN(value)) return notNumber(bytes, start);
      out[index] = value;
      return Number.isFinite(out[index]) ? null : `'${tokenAt(bytes, start)}' is out of the range of ${datatype}`;
    },
  };
}

type Integers = Int8Array | Int16Array | Int32Array | Uint8Array | Uint16Array | Uint32Array;

function integerSink(out: Integers, dtype: keyof typeof INTEGER_RANGE): Sink {
  const [low, high] = INTEGER_RANGE[dtype];
  return {
    bytes: new Uint8Array(out.buffer),
    put(bytes, start, end, index) {
      const value = readNumber(bytes, start, end);
      if (Number.isNaN(value)) return notNumber(bytes, start);
      if (!isIntegerText(bytes, start, end)) return `'${tokenAt(bytes, start)}' is not an integer`;
      if (value < low || value > high) return `'${tokenAt(bytes, start)}' is out of the range of ${datatypeOf(dtype)}`;
      out[index] = value;
      return null;
    },
  };
}

function longSink(out: BigInt64Array | BigUint64Array, dtype: keyof typeof LONG_RANGE): Sink {
  const [low, high] = LONG_RANGE[dtype];
  return {
    bytes: new Uint8Array(out.buffer),
    put(bytes, start, end, index) {
      const number = readNumber(bytes, start, end);
      if (Number.isNaN(number)) return notNumber(bytes, start);
      if (!isIntegerText(bytes, start, end)) return `'${tokenAt(bytes, start)}' is not an integer`;
      // 20 characters hold every 64-bit integer; longer texts would cost quadratic time in BigInt.
      const value = end - start > 20 ? null : BigInt(bytes.toString('latin1', start, end));
      if (value === null || value < low || value > high) {
        return `'${tokenAt(bytes, start)}' is out of the range of ${datatypeOf(dtype)}`;
      }
      out[index] = value;
      return null;
    },
  };
}

function boolSink(out: Uint8Array): Sink {
  return {
    bytes: out,
    put(bytes, start, end, index) {
      const word = end - start <= 5 ? bytes.toString('latin1', start, end) : '';
      if (word !== 'true' && word !== 'false') return `${quote(bytes, start)} is neither true nor false`;
      out[index] = word === 'true' ? 1 : 0;
      return null;
    },
  };
}

function isIntegerText(bytes: Buffer, start: number, end: number): boolean {
  for (let at = bytes[start] === MINUS ? start + 1 : start; at < end; at += 1) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return false;
  }
  return true;
}

const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/**
 * A JSON number, NaN for anything else. Up to 15 digits without an exponent are computed here: mantissa and power of ten
 * are exact doubles then, so their quotient is the correctly rounded value (4x faster than Number of a slice).
 */
export function readNumber(bytes: Buffer, start: number, end: number): number {
  const negative = bytes[start] === MINUS;
  let at = negative ? start + 1 : start;
  const first = at;
  let mantissa = 0;
  let digits = 0;
  let dot = -1;
  for (; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte >= ZERO && byte <= ZERO + 9) {
      mantissa = mantissa * 10 + (byte - ZERO);
      digits += 1;
    } else if (byte === DOT && dot === -1) {
      dot = at;
    } else {
      return readSlowly(bytes, start, end);
    }
  }
  const fraction = dot === -1 ? 0 : end - dot - 1;
  const whole = (dot === -1 ? end : dot) - first;
  const plain = whole > 0 && (whole === 1 || bytes[first] !== ZERO) && (dot === -1 || fraction > 0);
  if (!plain || digits > 15) return readSlowly(bytes, start, end);
  const value = fraction === 0 ? mantissa : mantissa / (POWERS[fraction] ?? 1);
  return negative ? -value : value;
}

function readSlowly(bytes: Buffer, start: number, end: number): number {
  const text = bytes.toString('latin1', start, end);
  return NUMBER.test(text) ? Number(text) : Number.NaN;
}
