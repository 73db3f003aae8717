import { closeSync, constants, openSync, read, readSync } from 'node:fs';
import { promisify } from 'node:util';
import type { SlotRef } from '@warmlane/contracts';
import { emptyHeader, HEADER_BYTES, isUseOf, markFreed, rootIn, slotFile, slotGone } from './slot-layout.js';

const readAsync = promisify(read);
const AT_ONCE_BYTES = 256 * 1024;

/** Reads what other processes of this host and user wrote. Everything throws `tensor-gone` where it is not there. */
export class SlotReader {
  readonly #root: string;

  /** @param dir the tmpfs */
  constructor(dir: string) {
    this.#root = rootIn(dir);
  }

  fileOf(ref: SlotRef): string {
    return slotFile(this.#root, ref.owner, ref.slot);
  }

  /** A copy, large ones read on a pool thread. */
  async read(ref: SlotRef): Promise<Buffer> {
    if (ref.bytes <= AT_ONCE_BYTES) return this.readNow(ref);
    const descriptor = openFile(this.fileOf(ref), constants.O_RDONLY, ref);
    try {
      checkUse(descriptor, ref);
      const data = Buffer.allocUnsafeSlow(ref.bytes);
      for (let at = 0; at < ref.bytes; ) {
        const { bytesRead } = await readAsync(descriptor, data, at, ref.bytes - at, HEADER_BYTES + at);
        if (bytesRead === 0) throw slotGone(ref);
        at += bytesRead;
      }
      checkUse(descriptor, ref);
      return data;
    } finally {
      closeSync(descriptor);
    }
  }

  /** The same on this thread. */
  readNow(ref: SlotRef): Buffer {
    return this.#open(ref, constants.O_RDONLY, (descriptor) => {
      checkUse(descriptor, ref);
      const data = Buffer.allocUnsafeSlow(ref.bytes);
      for (let at = 0; at < ref.bytes; ) {
        const got = readSync(descriptor, data, at, ref.bytes - at, HEADER_BYTES + at);
        if (got === 0) throw slotGone(ref);
        at += got;
      }
      // The slot may have been used again while it was copied.
      checkUse(descriptor, ref);
      return data;
    });
  }

  /** Tells the owner that nobody reads this use any more. Without effect where the slot was used again, or is gone. */
  free(ref: SlotRef): void {
    try {
      this.#open(ref, constants.O_WRONLY, (descriptor) => markFreed(descriptor, ref));
    } catch {
      // The use ends by its time.
    }
  }

  #open<T>(ref: SlotRef, flags: number, use: (descriptor: number) => T): T {
    const descriptor = openFile(this.fileOf(ref), flags, ref);
    try {
      return use(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }
}

function openFile(file: string, flags: number, ref: SlotRef): number {
  try {
    return openSync(file, flags | constants.O_NOFOLLOW);
  } catch (error) {
    throw slotGone(ref, error);
  }
}

function checkUse(descriptor: number, ref: SlotRef): void {
  const header = emptyHeader();
  readSync(descriptor, header, 0, header.byteLength, 0);
  if (!isUseOf(header, ref)) throw slotGone(ref);
}
