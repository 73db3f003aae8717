import { WarmlaneError } from '@warmlane/contracts';

/** Wire types of protobuf that occur in ONNX. */
export const VARINT = 0;
const FIXED64 = 1;
export const BYTES = 2;
const FIXED32 = 5;

/** One field of a message, still encoded. */
export interface Field {
  number: number;
  wire: number;
  /** Tag and value, to be copied as they are. */
  raw: Buffer;
  /** Content of a {@link BYTES} field; empty otherwise. */
  content: Buffer;
  /** Value of a {@link VARINT} field; 0n otherwise. */
  value: bigint;
}

/** The fields of a message in order. Throws `bad-request` where the bytes are no message. */
export function* fields(message: Buffer): Generator<Field> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[at];
      if (byte === undefined) throw malformed();
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw malformed();
  };
  while (at < message.byteLength) {
    const start = at;
    const tag = Number(varint());
    const field = { number: tag >>> 3, wire: tag & 7, content: message.subarray(0, 0), value: 0n };
    if (field.wire === VARINT) field.value = varint();
    else if (field.wire === FIXED64) at += 8;
    else if (field.wire === FIXED32) at += 4;
    else if (field.wire === BYTES) {
      const length = Number(varint());
      field.content = message.subarray(at, at + length);
      at += length;
    } else throw malformed();
    if (at > message.byteLength) throw malformed();
    yield { ...field, raw: message.subarray(start, at) };
  }
}

function malformed(): WarmlaneError {
  return new WarmlaneError('bad-request', 'the file is no ONNX model', 'Check that it was copied whole.');
}

/** The numbers of a repeated integer field, packed or not. */
export function* integers(field: Field): Generator<bigint> {
  if (field.wire === VARINT) yield field.value;
  // A packed field is a row of varints: read as the values of fields without their tags.
  let value = 0n;
  let shift = 0n;
  for (const byte of field.content) {
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    yield value;
    value = 0n;
    shift = 0n;
  }
}

function encodeVarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return Buffer.from([...bytes, rest]);
}

export function varintField(number: number, value: number): Buffer {
  return Buffer.concat([encodeVarint(number * 8 + VARINT), encodeVarint(value)]);
}

export function bytesField(number: number, content: Uint8Array): Buffer {
  return Buffer.concat([encodeVarint(number * 8 + BYTES), encodeVarint(content.byteLength), content]);
}
