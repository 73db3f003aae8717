import type { BlobRef } from '@warmlane/contracts';
import type { BlobStore } from '@warmlane/redis';
import { SAME_SOCKET_BYTES } from '../settings.js';

/** A blob that is written, or whose write was sent: then `stored` confirms it. */
export interface WrittenBlob {
  ref: BlobRef;
  stored: Promise<void> | null;
}

/**
 * Where a producer writes inputs. Blobs up to 256 kB are sent on the connection of the add without waiting (one socket
 * keeps the order, so blob and job are one round trip); larger ones go over another connection and are awaited, or every
 * small add would wait behind them.
 */
export class InputBlobs {
  constructor(
    /** On the queues' connection; null where blobs lie in another Redis. */
    private readonly near: BlobStore | null,
    /** On a connection of its own. */
    private readonly far: BlobStore,
    private readonly onError: (error: unknown) => void,
  ) {}

  async write(data: Uint8Array, ttlMs: number): Promise<WrittenBlob> {
    if (this.near !== null && data.byteLength <= SAME_SOCKET_BYTES) return this.near.putAhead(data, ttlMs);
    return { ref: await this.far.put(data, ttlMs), stored: null };
  }

  /** In the background: what is not deleted now expires by itself. */
  unlink(refs: readonly BlobRef[]): void {
    for (const ref of refs) this.far.unlink(ref).catch(this.onError);
  }
}
