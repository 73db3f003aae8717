/** Memory of smaller bodies costs little anew. */
const LEAST_BYTES = 64 * 1024;
/** Most bytes that lie ready, and for how long nobody may want them. */
const MOST_BYTES = 64 * 2 ** 20;
const IDLE_MS = 10_000;
/** Room is a multiple of this: bodies of about the same size fit each other's memory. */
const ROUND_BYTES = 64 * 1024;

interface Spare {
  memory: Buffer;
  since: number;
}

/**
 * Memory of bodies that were answered, for bodies to come: the page faults of new memory cost more than the copy into it,
 * and what is not on V8's heap still makes it collect.
 */
export class BodyMemory {
  #spares: Spare[] = [];
  #spareBytes = 0;
  /** What {@link take} gave, and nothing else, may be used again: a body of one chunk lies in memory of the socket. */
  readonly #given = new WeakSet<ArrayBufferLike>();
  #timer: NodeJS.Timeout | null = null;

  /** Bytes that lie ready. */
  get spareBytes(): number {
    return this.#spareBytes;
  }

  /** So many bytes, of any content. */
  take(bytes: number): Buffer {
    if (bytes < LEAST_BYTES) return Buffer.allocUnsafeSlow(bytes);
    const room = roomFor(bytes);
    const at = this.#spares.findIndex(({ memory }) => memory.byteLength >= bytes && memory.byteLength <= 2 * room);
    const [spare] = at < 0 ? [] : this.#spares.splice(at, 1);
    const memory = spare?.memory ?? Buffer.allocUnsafeSlow(room);
    if (spare !== undefined) this.#spareBytes -= memory.byteLength;
    this.#given.add(memory.buffer);
    return memory.subarray(0, bytes);
  }

  /** Takes back what {@link take} gave: nobody may look at it any more. Without effect for other memory. */
  give({ buffer }: Buffer): void {
    // Memory that moved to a thread has no bytes left here.
    if (!this.#given.delete(buffer) || buffer.byteLength === 0) return;
    if (this.#spareBytes + buffer.byteLength > MOST_BYTES) return;
    this.#spares.unshift({ memory: Buffer.from(buffer), since: performance.now() });
    this.#spareBytes += buffer.byteLength;
    this.#timer ??= setTimeout(() => this.#tidy(), IDLE_MS).unref();
  }

  #tidy(): void {
    this.#timer = null;
    const oldest = performance.now() - IDLE_MS;
    this.#spares = this.#spares.filter(({ since }) => since > oldest);
    this.#spareBytes = this.#spares.reduce((sum, { memory }) => sum + memory.byteLength, 0);
    if (this.#spares.length > 0) this.#timer = setTimeout(() => this.#tidy(), IDLE_MS).unref();
  }
}

function roomFor(bytes: number): number {
  return Math.ceil(bytes / ROUND_BYTES) * ROUND_BYTES;
}
