import { closeSync, constants, existsSync, fstatSync, openSync } from 'node:fs';
import type { SlotRef } from '@warmlane/contracts';
import { HEADER_BYTES, isUseOf, slotGone } from '@warmlane/shm';
import koffi from 'koffi';

const PROT_READ = 1;
const MAP_SHARED = 0x1;
const MAP_POPULATE = 0x8000;
/** mmap's answer where it fails: the pointer -1. */
const FAILED = 2n ** 64n - 1n;

interface LibC {
  mmap(at: null, bytes: number, protection: number, flags: number, descriptor: number, offset: number): bigint | null;
  munmap(address: bigint, bytes: number): number;
}

let libc: LibC | null = null;

/** Loaded at the first use: ONNX Runtime's bindings set koffi's stack sizes before anything is loaded. */
function load(): LibC {
  if (libc === null) {
    const library = koffi.load('libc.so.6');
    libc = {
      mmap: library.func(
        'void *mmap(void *at, size_t bytes, int protection, int flags, int descriptor, long offset)',
      ) as LibC['mmap'],
      munmap: library.func('int munmap(void *address, size_t bytes)') as LibC['munmap'],
    };
  }
  return libc;
}

interface Mapping {
  address: bigint;
  bytes: number;
  view: Uint8Array;
}

/**
 * Slots of other processes in this one's memory, mapped once and kept: a file of 10 MB costs 2,500 page faults at its
 * first use. Slots are written in full before anybody hears of them and never made shorter, so that no read is a SIGBUS.
 */
export class SlotMaps {
  readonly #maps = new Map<string, Mapping>();

  /** The bytes where they lie. Throws `tensor-gone`. */
  open(file: string, ref: SlotRef): Uint8Array {
    const mapping = this.#maps.get(file) ?? this.#map(file, ref);
    const { view } = mapping;
    const whole = HEADER_BYTES + ref.bytes;
    if (whole > mapping.bytes || !isUseOf(Buffer.from(view.buffer, view.byteOffset, HEADER_BYTES), ref)) {
      throw slotGone(ref);
    }
    return view.subarray(HEADER_BYTES, whole);
  }

  /** Gives back what was deleted. Nobody may hold the bytes of {@link open} any more. */
  tidy(): void {
    for (const [file, mapping] of this.#maps) if (!existsSync(file)) this.#unmap(file, mapping);
  }

  close(): void {
    for (const [file, mapping] of this.#maps) this.#unmap(file, mapping);
  }

  #map(file: string, ref: SlotRef): Mapping {
    const descriptor = openFile(file, ref);
    try {
      const { size } = fstatSync(descriptor);
      if (size < HEADER_BYTES + ref.bytes) throw slotGone(ref);
      const address = load().mmap(null, size, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor, 0);
      if (address === null || BigInt.asUintN(64, address) === FAILED) throw slotGone(ref);
      const mapping = { address, bytes: size, view: new Uint8Array(koffi.view(address, size)) };
      this.#maps.set(file, mapping);
      return mapping;
    } finally {
      closeSync(descriptor);
    }
  }

  #unmap(file: string, { address, bytes }: Mapping): void {
    this.#maps.delete(file);
    load().munmap(address, bytes);
  }
}

function openFile(file: string, ref: SlotRef): number {
  try {
    return openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    throw slotGone(ref, error);
  }
}
