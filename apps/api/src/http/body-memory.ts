/** Memory of smaller bodies costs little anew. */
const LEAST_BYTES = 256 * 1024;
/** Most bytes that lie ready, and for how long nobody may want them. */
const MOST_BYTES = 64 * 2 ** 20;
const IDLE_MS = 10_000;
const ROUND_BYTES = 2 ** 20;

interface Spare {
  memory: Buffer;
  since: number;
}

/**
 * Memory of bodies that were answered, for bodies to come: the page faults of new memory cost more than the copy into it.
 */
export class BodyMemory {
  #spares: Spare[] = [];
  #timer: NodeJS.Timeout | null = null;

  /** Bytes that lie ready. */
  get spareBytes(): number {
    return this.#spares.reduce((sum, { memory }) => sum + memory.byteLength, 0);
  }

  /** So many bytes, of any content. */
  take(bytes: number): Buffer {
    if (bytes < LEAST_BYTES) return Buffer.allocUnsafeSlow(bytes);
    const room = roomFor(bytes);
    const at = this.#spares.findIndex(({ memory }) => memory.byteLength >= bytes && memory.byteLength <= 2 * room);
    const [spare] = at < 0 ? [] : this.#spares.splice(at, 1);
    return (spare?.memory ?? Buffer.allocUnsafeSlow(room)).subarray(0, bytes);
  }

  /** Takes back what {@link take} gave: nobody may look at it any more. */
  give(body: Buffer): void {
    const { buffer } = body;
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength % ROUND_BYTES !== 0 || buffer.byteLength === 0) return;
    if (this.spareBytes + buffer.byteLength > MOST_BYTES) return;
    this.#spares.unshift({ memory: Buffer.from(buffer), since: performance.now() });
    this.#timer ??= setTimeout(() => this.#tidy(), IDLE_MS).unref();
  }

  #tidy(): void {
    this.#timer = null;
    const oldest = performance.now() - IDLE_MS;
    this.#spares = this.#spares.filter(({ since }) => since > oldest);
    if (this.#spares.length > 0) this.#timer = setTimeout(() => this.#tidy(), IDLE_MS).unref();
  }
}

function roomFor(bytes: number): number {
  return Math.ceil(bytes / ROUND_BYTES) * ROUND_BYTES;
}
