import koffi from 'koffi';
import { loadLibrary } from './dynamic-library.js';
import { OrtError } from './ort-error.js';

interface LibC {
  alignedAlloc(alignment: number, bytes: number): bigint | null;
  free(address: bigint): void;
  copyIn(to: bigint, from: Uint8Array, bytes: number): void;
  trim: { async(keep: number, done: (error: Error | null) => void): void };
  copyOut(to: Uint8Array, from: bigint, bytes: number): void;
}

let bound: LibC | undefined;

function libc(): LibC {
  if (bound === undefined) {
    const library = loadLibrary('libc.so.6');
    const memcpy = library.func('void *memcpy(void *to, void *from, size_t bytes)');
    bound = {
      alignedAlloc: library.func('void *aligned_alloc(size_t alignment, size_t bytes)'),
      free: library.func('void free(void *address)'),
      trim: library.func('int malloc_trim(size_t keep)'),
      copyIn: memcpy,
      copyOut: memcpy,
    };
  }
  return bound;
}

/** ONNX Runtime's own alignment of CPU tensors, a cache line: vector kernels read whole lines. */
const ALIGNMENT = 64;

/** Copies native memory into a new array of JavaScript's. */
export function copyFrom(address: bigint, bytes: number): Uint8Array {
  const out = new Uint8Array(bytes);
  if (bytes > 0) libc().copyOut(out, address, bytes);
  return out;
}

/** Copies an array into native memory that has room for it. */
export function copyTo(address: bigint, data: Uint8Array): void {
  if (data.byteLength > 0) libc().copyIn(address, data, data.byteLength);
}

/**
 * Gives back to the system what the C heap holds free, on a pool thread. The creation of a session leaves more than its
 * model's size there: the heap keeps freed blocks of up to 32 MiB.
 */
export function trimHeap(): Promise<void> {
  return new Promise((resolve) => libc().trim.async(0, () => resolve()));
}

/** Memory that the device copies to or from, with one owner. */
export interface HostMemory {
  readonly address: bigint;
  readonly bytes: number;
  /** The bytes themselves, no copy. Must not be used after `close()`: throws `closed`. */
  readonly view: Uint8Array;
  close(): void;
}

/**
 * Native memory outside JavaScript's heap: what is given to ONNX Runtime by address must neither move nor be collected
 * while an OrtValue points at it. Contents are not initialised.
 */
export class HostBuffer implements HostMemory, Disposable {
  readonly bytes: number;
  #address: bigint | null;
  #view: Uint8Array | null = null;
  readonly #release: (address: bigint) => void;

  /** Takes over memory that `release` gives back. */
  constructor(address: bigint, bytes: number, release: (address: bigint) => void) {
    this.#address = address;
    this.bytes = bytes;
    this.#release = release;
  }

  /** Throws `out-of-memory`. Zero bytes still have an address of their own. */
  static allocate(bytes: number): HostBuffer {
    const rounded = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const address = libc().alignedAlloc(ALIGNMENT, rounded);
    if (address === null) throw new OrtError('out-of-memory', `no ${rounded} bytes of host memory`);
    return new HostBuffer(address, bytes, (at) => libc().free(at));
  }

  /** A native copy of the data. */
  static of(data: Uint8Array): HostBuffer {
    const buffer = HostBuffer.allocate(data.byteLength);
    copyTo(buffer.address, data);
    return buffer;
  }

  get address(): bigint {
    if (this.#address === null) throw new OrtError('closed', 'this native buffer is closed');
    return this.#address;
  }

  get view(): Uint8Array {
    const address = this.address;
    this.#view ??= this.bytes === 0 ? new Uint8Array(0) : new Uint8Array(koffi.view(address, this.bytes));
    return this.#view;
  }

  close(): void {
    const address = this.#address;
    this.#address = null;
    this.#view = null;
    if (address !== null) this.#release(address);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
