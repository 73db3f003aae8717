import { type AnswerHead, answerHeadSchema, WarmlaneError } from '@warmlane/contracts';

/** One answer: its head, and per output of the head its inline bytes, null where the output is a blob or a slot. */
export interface Answer {
  head: AnswerHead;
  inline: (Buffer | null)[];
}

/**
 * Head and inline outputs -> the value of a reply key: length of the head (4 bytes, little-endian), head as JSON, then
 * the inline outputs' bytes in the head's order. Throws a RangeError where the outputs are not what the head says.
 */
export function encodeAnswer(head: AnswerHead, inline: readonly (Uint8Array | null)[]): Buffer {
  const outputs = head.ok ? head.outputs : [];
  if (inline.length !== outputs.length) {
    throw new RangeError(`the answer's head has ${outputs.length} outputs, got ${inline.length}`);
  }
  const bodies: Uint8Array[] = [];
  outputs.forEach((output, n) => {
    const body = inline[n] ?? null;
    if ((body === null) === isInline(output)) {
      throw new RangeError(`output '${output.name}' must be either inline or a blob or slot`);
    }
    if (body === null) return;
    if (body.byteLength !== output.bytes) {
      throw new RangeError(`output '${output.name}' has ${body.byteLength} bytes, its head says ${output.bytes}`);
    }
    bodies.push(body);
  });
  const text = Buffer.from(JSON.stringify(head), 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.byteLength);
  return Buffer.concat([length, text, ...bodies]);
}

/** Inverse of {@link encodeAnswer}; the inline outputs share the value's memory. Throws `internal` on another form. */
export function decodeAnswer(value: Buffer): Answer {
  try {
    const end = 4 + value.readUInt32LE(0);
    const head = answerHeadSchema.parse(JSON.parse(value.toString('utf8', 4, end)));
    if (!head.ok) return { head, inline: [] };
    let at = end;
    const inline = head.outputs.map((output) => {
      if (!isInline(output)) return null;
      const body = value.subarray(at, at + output.bytes);
      at += output.bytes;
      if (body.byteLength !== output.bytes) throw new RangeError(`output '${output.name}' is cut off`);
      return body;
    });
    return { head, inline };
  } catch (cause) {
    throw new WarmlaneError(
      'internal',
      'an answer in Redis is not of this version’s form',
      'Run one version of Warmlane per Redis.',
      { cause },
    );
  }
}

function isInline({ blob, slot }: { blob: unknown; slot?: unknown }): boolean {
  return blob === null && slot === undefined;
}
