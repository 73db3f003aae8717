import { closeSync, constants, openSync, read, readSync, readvSync } from 'node:fs';
import { promisify } from 'node:util';
import type { DType, NamedTensor, SlotRef, TensorSpec } from '@warmlane/contracts';
import { emptyHeader, HEADER_BYTES, isUseOf, markFreed, slotGone } from './slot-layout.js';
import type { SlotReader } from './slot-reader.js';

const readAsync = promisify(read);

/** One for all: it is looked at before anything else runs. */
const header = emptyHeader();

/**
 * A slot of another process that stays open until {@link free}: its bytes can be read piece by piece, also when the other
 * process has died meanwhile. Every read says `tensor-gone` where the slot was used again before it was over.
 */
export class HeldSlot {
  readonly #descriptor: number;
  #open = true;

  /** Throws `tensor-gone`. */
  constructor(
    readonly ref: SlotRef,
    reader: SlotReader,
  ) {
    try {
      this.#descriptor = openSync(reader.fileOf(ref), constants.O_RDWR | constants.O_NOFOLLOW);
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

  /** Fills the targets one after the other with the tensor's bytes from `at` on, on this thread. Throws `tensor-gone`. */
  readInto(targets: readonly Uint8Array[], at: number): void {
    const bytes = targets.reduce((sum, target) => sum + target.byteLength, 0);
    if (!this.#open || at + bytes > this.ref.bytes) throw slotGone(this.ref);
    // A file is read in full but at its end, which is behind the bytes of every slot that is whole.
    if (readvSync(this.#descriptor, targets, HEADER_BYTES + at) !== bytes) throw slotGone(this.ref);
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
    try {
      markFreed(this.#descriptor, this.ref);
    } finally {
      closeSync(this.#descriptor);
    }
  }

  #check(): void {
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
    this.held.readInto([data], 0);
    return data;
  }
}
