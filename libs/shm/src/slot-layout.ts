import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { SLOT_LEAST_BYTES, type SlotRef, WarmlaneError } from '@warmlane/contracts';

/**
 * A slot's file: one page of header, then room for its class of bytes. The header, little-endian: the token of the use
 * (16 bytes), the token of the use that its reader is done with (16 bytes), the bytes of the tensor (8 bytes).
 */
export const HEADER_BYTES = 4096;
export const TOKEN_BYTES = 16;
export const FREED_AT = 16;
const LENGTH_AT = 32;
const USED_HEADER_BYTES = 40;

/** The file of one's folder that says who lives there. */
export const ALIVE_FILE = 'alive';
/** The file of one's folder whose content only processes of the same host and user can know. */
export const NONCE_FILE = 'nonce';

/** The header of a use, nobody done with it yet. */
export function headerOf(token: Buffer, bytes: number): Buffer {
  const header = Buffer.alloc(USED_HEADER_BYTES);
  header.set(token, 0);
  header.writeBigUInt64LE(BigInt(bytes), LENGTH_AT);
  return header;
}

/** True where the header is that of the use which the reference names. */
export function isUseOf(header: Buffer, ref: SlotRef): boolean {
  return (
    header.byteLength >= USED_HEADER_BYTES &&
    header.toString('hex', 0, TOKEN_BYTES) === ref.token &&
    header.readBigUInt64LE(LENGTH_AT) === BigInt(ref.bytes)
  );
}

/** The owner's sign that nobody reads this use any more. It holds the token: it cannot end a later use. */
export function markFreed(descriptor: number, ref: SlotRef): void {
  writeSync(descriptor, Buffer.from(ref.token, 'hex'), 0, TOKEN_BYTES, FREED_AT);
}

export function emptyHeader(): Buffer {
  return Buffer.alloc(USED_HEADER_BYTES);
}

/** Room of the slot that takes so many bytes: powers of two from 64 KiB, and the steps half-way between them. */
export function sizeClassOf(bytes: number): number {
  let size = SLOT_LEAST_BYTES;
  while (size < bytes) {
    if (size * 1.5 >= bytes) return size * 1.5;
    size *= 2;
  }
  return size;
}

/** The folder of a user's folders in a tmpfs. */
export function rootIn(dir: string): string {
  return join(dir, `warmlane-${process.geteuid?.() ?? 0}`);
}

export function slotFile(root: string, owner: string, slot: number): string {
  return join(root, owner, String(slot));
}

/** The bytes are no longer there. */
export function slotGone(ref: SlotRef, cause?: unknown): WarmlaneError {
  return new WarmlaneError(
    'tensor-gone',
    `a tensor of ${ref.bytes} bytes is no longer in shared memory`,
    'Send the request again.',
    { cause },
  );
}
