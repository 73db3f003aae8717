import { closeSync, constants, openSync, read, readSync } from 'node:fs';
import { promisify } from 'node:util';
import type { DType, NamedTensor, SlotRef, TensorSpec } from '@warmlane/contracts';
import { emptyHeader, HEADER_BYTES, isUseOf, slotGone } from './slot-layout.js';
import type { SlotReader } from './slot-reader.js';

const readAsync = promisify(read);

/**
 * A slot of another process that stays open until {@link free}: its bytes can be read piece by piece, also when the other
 * process has died meanwhile. Every read says `tensor-gone` where the slot was used again before it was over.
 */
export class HeldSlot {
  readonly #reader: SlotReader;
  readonly #descriptor: number;
  #open = true;

  /** Throws `tensor-gone`. */
  constructor(
    readonly ref: SlotRef,
    reader: SlotReader,
  ) {
    this.#reader = reader;
    try {
      this.#descriptor = openSync(reader.fileOf(ref), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      throw slotGone(ref, error);
    }
    try {
      this.#check();
    } catch (error) {
      closeSync(this.#descriptor);
      throw error;
    }
  }

  /** Fills the target with the tensor's bytes from `at` on, on this thread. Throws `tensor-gone`. */
  readInto(target: Uint8Array, at: number): void {
    if (!this.#open || at + target.byteLength > this.ref.bytes) throw slotGone(this.ref);
    for (let done = 0; done < target.byteLength; ) {
      const got = readSync(this.#descriptor, target, done, target.byteLength - done, HEADER_BYTES + at + done);
      if (got === 0) throw slotGone(this.ref);
      done += got;
    }
    this.#check();
  }

  /** A copy of the bytes from `at` on, read on a pool thread. Rejects with `tensor-gone`. */
  async readFrom(at: number): Promise<Buffer> {
    if (!this.#open) throw slotGone(this.ref);
    const data = Buffer.allocUnsafeSlow(this.ref.bytes - at);
    for (let done = 0; done < data.byteLength; ) {
      const { bytesRead } = await readAsync(
        this.#descriptor,
        data,
        done,
        data.byteLength - done,
        HEADER_BYTES + at + done,
      );
      if (bytesRead === 0) throw slotGone(this.ref);
      done += bytesRead;
    }
    this.#check();
    return data;
  }

  /** Nobody reads it here any more; its owner is told. Not while {@link readFrom} is under way. Idempotent. */
  free(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#descriptor);
    this.#reader.free(this.ref);
  }

  #check(): void {
    const header = emptyHeader();
    readSync(this.#descriptor, header, 0, header.byteLength, 0);
    if (!isUseOf(header, this.ref)) throw slotGone(this.ref);
  }
}

/** A tensor whose bytes stay in a slot until whoever got it frees it. */
export class HeldTensor implements NamedTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: number[];

  constructor(
    { name, dtype, dims }: TensorSpec,
    readonly held: HeldSlot,
  ) {
    this.name = name;
    this.dtype = dtype;
    this.dims = dims;
  }

  /** A copy, read on this thread. Throws `tensor-gone`. */
  get data(): Uint8Array {
    const data = Buffer.allocUnsafeSlow(this.held.ref.bytes);
    this.held.readInto(data, 0);
    return data;
  }
}
