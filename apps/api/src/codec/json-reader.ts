import { isUtf8 } from 'node:buffer';
import { WarmlaneError } from '@warmlane/contracts';

/** Nesting that Triton accepts; deeper texts are refused before they can exhaust the stack. */
const MAX_JSON_DEPTH = 100;

/** Where a value stands in the text, left unread: the tensor data, which are read once their datatype is known. */
export class JsonSpan {
  constructor(
    readonly start: number,
    readonly end: number,
    /** Nesting outside of the span. */
    readonly depth: number,
  ) {}
}

export type JsonObject = Map<string, JsonValue>;
export type JsonValue = null | boolean | number | string | JsonSpan | JsonValue[] | JsonObject;

export function jsonError(problem: string, at: number): WarmlaneError {
  return new WarmlaneError('bad-request', `the body is not valid JSON: ${problem} at position ${at}`);
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const COMMA = 0x2c;
const COLON = 0x3a;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;

const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

export function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** True for a byte that ends a bare token: white space, a structural character or the end of the text. */
export function endsToken(byte: number | undefined): boolean {
  return (
    byte === undefined ||
    byte === COMMA ||
    byte === CLOSE_ARRAY ||
    byte === CLOSE_OBJECT ||
    byte === COLON ||
    isSpace(byte)
  );
}

/** A bare token for a message, cut to a readable length. */
export function tokenAt(bytes: Buffer, at: number): string {
  let end = at;
  while (end - at < 24 && !endsToken(bytes[end])) end += 1;
  return bytes.toString('utf8', at, end);
}

/**
 * Reads JSON of the Open Inference Protocol. Unlike JSON.parse it leaves the `data` of tensors unread (as
 * {@link JsonSpan}), so that 64-bit integers stay exact and no array of boxed numbers is built, names positions in its
 * errors, and limits nesting to {@link MAX_JSON_DEPTH}. Of repeated keys the last counts.
 */
export class JsonReader {
  readonly #bytes: Buffer;
  #at = 0;

  /** @param isData whether the value at this path of keys is to be left unread (arrays add no step to the path). */
  constructor(
    bytes: Buffer,
    private readonly isData: (path: readonly string[]) => boolean,
  ) {
    this.#bytes = bytes;
  }

  /** The whole text as one value. Throws `bad-request`. */
  read(): JsonValue {
    if (!isUtf8(this.#bytes)) throw new WarmlaneError('bad-request', 'the body is not valid JSON: it is not UTF-8');
    const value = this.#value([], 0);
    this.#skipSpace();
    if (this.#at < this.#bytes.length) throw jsonError('text after the end', this.#at);
    return value;
  }

  #skipSpace(): void {
    while (isSpace(this.#bytes[this.#at])) this.#at += 1;
  }

  #value(path: string[], depth: number): JsonValue {
    this.#skipSpace();
    const byte = this.#bytes[this.#at];
    if (byte === OPEN_OBJECT) return this.#object(path, depth + 1);
    if (byte === OPEN_ARRAY) return this.isData(path) ? this.#span(depth) : this.#array(path, depth + 1);
    if (byte === QUOTE) return this.#string();
    if (byte === MINUS || (byte !== undefined && byte >= ZERO && byte <= NINE)) return this.#number();
    return this.#word();
  }

  #object(path: string[], depth: number): JsonObject {
    if (depth > MAX_JSON_DEPTH) throw jsonError(`nesting deeper than ${MAX_JSON_DEPTH}`, this.#at);
    const object: JsonObject = new Map();
    this.#at += 1;
    this.#skipSpace();
    if (this.#bytes[this.#at] === CLOSE_OBJECT) {
      this.#at += 1;
      return object;
    }
    for (;;) {
      this.#skipSpace();
      if (this.#bytes[this.#at] !== QUOTE) throw jsonError('expected a key in double quotes', this.#at);
      const key = this.#string();
      this.#skipSpace();
      if (this.#bytes[this.#at] !== COLON) throw jsonError("expected ':'", this.#at);
      this.#at += 1;
      path.push(key);
      object.set(key, this.#value(path, depth));
      path.pop();
      this.#skipSpace();
      const next = this.#bytes[this.#at];
      if (next !== COMMA && next !== CLOSE_OBJECT) throw jsonError("expected ',' or '}'", this.#at);
      this.#at += 1;
      if (next === CLOSE_OBJECT) return object;
    }
  }

  #array(path: string[], depth: number): JsonValue[] {
    if (depth > MAX_JSON_DEPTH) throw jsonError(`nesting deeper than ${MAX_JSON_DEPTH}`, this.#at);
    const array: JsonValue[] = [];
    this.#at += 1;
    this.#skipSpace();
    if (this.#bytes[this.#at] === CLOSE_ARRAY) {
      this.#at += 1;
      return array;
    }
    for (;;) {
      array.push(this.#value(path, depth));
      this.#skipSpace();
      const next = this.#bytes[this.#at];
      if (next !== COMMA && next !== CLOSE_ARRAY) throw jsonError("expected ',' or ']'", this.#at);
      this.#at += 1;
      if (next === CLOSE_ARRAY) return array;
    }
  }

  /** Finds the end of an array without reading it; its inside is checked when the tensor is decoded. */
  #span(outside: number): JsonSpan {
    const bytes = this.#bytes;
    const start = this.#at;
    let depth = 0;
    let at = start;
    for (;;) {
      const byte = bytes[at];
      if (byte === undefined) throw jsonError("expected ']' before the end", bytes.length);
      at += 1;
      if (byte === OPEN_ARRAY) {
        depth += 1;
        if (outside + depth > MAX_JSON_DEPTH) throw jsonError(`nesting deeper than ${MAX_JSON_DEPTH}`, at - 1);
      } else if (byte === CLOSE_ARRAY) {
        depth -= 1;
        if (depth === 0) break;
      } else if (byte === QUOTE) {
        at = endOfString(bytes, at - 1);
      }
    }
    this.#at = at;
    return new JsonSpan(start, at, outside);
  }

  #string(): string {
    const start = this.#at;
    this.#at = endOfString(this.#bytes, start);
    return readString(this.#bytes, start, this.#at);
  }

  #number(): number {
    const start = this.#at;
    let end = start;
    while (!endsToken(this.#bytes[end])) end += 1;
    const text = this.#bytes.toString('latin1', start, end);
    if (!NUMBER.test(text)) throw jsonError(`'${tokenAt(this.#bytes, start)}' is not a number`, start);
    this.#at = end;
    return Number(text);
  }

  #word(): null | boolean {
    const start = this.#at;
    if (start >= this.#bytes.length) throw jsonError('unexpected end', start);
    const word = tokenAt(this.#bytes, start);
    this.#at = start + word.length;
    if (word === 'true') return true;
    if (word === 'false') return false;
    if (word === 'null') return null;
    throw jsonError(`unexpected '${word === '' ? this.#bytes.toString('latin1', start, start + 1) : word}'`, start);
  }
}

/** Position after the closing quote of the string that begins at `start`. */
export function endOfString(bytes: Buffer, start: number): number {
  for (let at = start + 1; ; at += 1) {
    const byte = bytes[at];
    if (byte === undefined) throw jsonError('a string without its closing quote', start);
    if (byte === QUOTE) return at + 1;
    if (byte === BACKSLASH) at += 1;
    else if (byte < 0x20) throw jsonError('a control character in a string', at);
  }
}

/** The string whose quotes stand at `start` and `end - 1`. */
export function readString(bytes: Buffer, start: number, end: number): string {
  // Only up to the string's end: a search of the rest would be quadratic in the number of strings.
  if (bytes.subarray(start, end).indexOf(BACKSLASH) === -1) return bytes.toString('utf8', start + 1, end - 1);
  try {
    return JSON.parse(bytes.toString('utf8', start, end)) as string;
  } catch {
    throw jsonError('a broken escape in a string', start);
  }
}
