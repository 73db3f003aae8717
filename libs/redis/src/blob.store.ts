import { type BlobRef, MAX_TENSOR_BYTES, newId, WarmlaneError } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { keys } from './keys.js';
import { runScript } from './scripts.js';

/** Above this a blob is cut: one 10 MB value blocks all of Redis for 35 ms, ten of 1 MB do not. */
export const BLOB_PIECE_BYTES = 2 ** 20;

export interface BlobStoreOptions {
  /** Most bytes that blobs of all producers may take together. */
  limitBytes: number;
}

/**
 * Tensors as binary values. Their bytes are reserved first, in the main Redis, so that no burst fills the memory; the
 * values may lie in a Redis of their own, without persistence. A blob is never read and deleted in one command: a job
 * that runs again needs it again.
 */
export class BlobStore {
  readonly #blobs: Redis;
  readonly #budget: Redis;
  readonly #limitBytes: number;

  /** @param blobs client of the Redis that holds the values @param budget client of the main Redis */
  constructor(blobs: Redis, budget: Redis, options: BlobStoreOptions) {
    this.#blobs = blobs;
    this.#budget = budget;
    this.#limitBytes = options.limitBytes;
  }

  /**
   * Stores the bytes for `ttlMs`. Resolves when Redis has them all. Throws `overloaded` where the byte budget is used up
   * or Redis is out of memory.
   */
  async put(data: Uint8Array, ttlMs: number): Promise<BlobRef> {
    const ref: BlobRef = { id: newId(), bytes: data.byteLength };
    await this.#reserve(ref, ttlMs);
    try {
      await this.#write(ref, data, ttlMs);
    } catch (error) {
      await this.unlink(ref);
      throw error;
    }
    return ref;
  }

  /**
   * Sends the reservation and the bytes at once, for a caller whose next command on the same connection needs the blob:
   * the order of one socket is kept. `stored` rejects as {@link put}, and then nothing stays. Throws a RangeError above
   * one piece, which would hold up every other command of the connection.
   */
  putAhead(data: Uint8Array, ttlMs: number): { ref: BlobRef; stored: Promise<void> } {
    if (data.byteLength > BLOB_PIECE_BYTES) throw new RangeError(`${data.byteLength} bytes are more than one piece`);
    const ref: BlobRef = { id: newId(), bytes: data.byteLength };
    const reserving = this.#reserve(ref, ttlMs);
    const writing = this.#write(ref, data, ttlMs);
    const stored = Promise.all([reserving, writing]).then(
      () => undefined,
      async (error: unknown) => {
        // The write may still be on its way when the reservation was refused.
        await Promise.allSettled([writing]);
        await this.unlink(ref);
        throw error;
      },
    );
    return { ref, stored };
  }

  /** The bytes, or null where any of them is gone or the length is not the stated one. */
  async get(ref: BlobRef): Promise<Buffer | null> {
    const names = blobKeys(ref);
    const pieces = await Promise.all(names.map((key) => this.#blobs.getBuffer(key)));
    const present = pieces.filter((piece) => piece !== null);
    if (present.length !== pieces.length) return null;
    const only = present.length === 1 ? present[0] : undefined;
    const bytes = only ?? Buffer.concat(present);
    return bytes.byteLength === ref.bytes ? bytes : null;
  }

  /** Deletes the blob and gives its bytes back. A blob that is gone is no error. */
  async unlink(ref: BlobRef): Promise<void> {
    await Promise.all([
      this.#blobs.unlink(...blobKeys(ref)),
      runScript(this.#budget, 'releaseBlob', [keys.blobReservations(), keys.blobBytes()], [ref.id, ref.bytes]),
    ]);
  }

  /** Gives the blob another time to live, from now. */
  async expire(ref: BlobRef, ttlMs: number): Promise<void> {
    const ttl = Math.ceil(ttlMs);
    await Promise.all([
      ...blobKeys(ref).map((key) => this.#blobs.pexpire(key, ttl)),
      runScript(this.#budget, 'extendBlob', [keys.blobReservations()], [ref.id, ref.bytes, ttl]),
    ]);
  }

  /** Bytes reserved now, those of expired blobs included until the next `put` finds them. */
  async reservedBytes(): Promise<number> {
    return Number((await this.#budget.get(keys.blobBytes())) ?? '0');
  }

  async #reserve(ref: BlobRef, ttlMs: number): Promise<void> {
    const args = [ref.id, ref.bytes, this.#limitBytes, Math.ceil(ttlMs)];
    if ((await runScript(this.#budget, 'reserveBlob', [keys.blobReservations(), keys.blobBytes()], args)) === 1) return;
    throw new WarmlaneError(
      'overloaded',
      `no room for a tensor of ${ref.bytes} bytes: tensors in flight may take ${this.#limitBytes} bytes together`,
      'Send it again later, or raise the limit of tensors in flight.',
    );
  }

  async #write(ref: BlobRef, data: Uint8Array, ttlMs: number): Promise<void> {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const writes = blobKeys(ref).map((key, n, all) => {
      const piece = all.length === 1 ? bytes : bytes.subarray(n * BLOB_PIECE_BYTES, (n + 1) * BLOB_PIECE_BYTES);
      return this.#blobs.set(key, piece, 'PX', Math.ceil(ttlMs));
    });
    const failed = (await Promise.allSettled(writes)).find((write) => write.status === 'rejected');
    if (failed !== undefined) throw asOverloaded(failed.reason);
  }
}

/** A blob's keys: one, or above 1 MiB one per piece. Throws `too-large` above 1 GiB, which no tensor has. */
function blobKeys(ref: BlobRef): string[] {
  if (ref.bytes > MAX_TENSOR_BYTES) {
    throw new WarmlaneError('too-large', `a blob of ${ref.bytes} bytes, more than ${MAX_TENSOR_BYTES}`, 'Send less.');
  }
  if (ref.bytes <= BLOB_PIECE_BYTES) return [keys.blob(ref.id)];
  return Array.from({ length: Math.ceil(ref.bytes / BLOB_PIECE_BYTES) }, (_, piece) => keys.blobPiece(ref.id, piece));
}

/** Redis names its errors by the first word: OOM is its answer under `noeviction`. */
function asOverloaded(reason: unknown): WarmlaneError {
  if (reason instanceof Error && reason.message.startsWith('OOM ')) {
    return new WarmlaneError(
      'overloaded',
      'Redis is out of memory',
      "Send it again later, or raise Redis's maxmemory.",
      {
        cause: reason,
      },
    );
  }
  return WarmlaneError.from(reason);
}
