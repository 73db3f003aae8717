import { type TensorSpec, tensorBytes } from '@warmlane/contracts';
import type { OrtApi } from '../native/api.js';
import { closeAll, type MemoryInfoHandle, type ValueHandle } from '../native/handle.js';
import { HostBuffer } from '../native/host-buffer.js';
import { OrtError } from '../native/ort-error.js';
import { createMemoryInfo, createStrings, fillStrings, valueOver } from '../native/value.js';

/** A byte pattern that is NaN in every float type and -1 or a huge number in every integer type. */
export const POISON = 0xff;

/** An input bound for the life of a lane. */
export interface InputSlot {
  readonly spec: TensorSpec;
  /** Bytes held, on the device or, on the CPU, on the host. */
  readonly bytes: number;
  readonly value: ValueHandle;
  /** The host bytes that the run reads, where they can be written in place; null for strings. */
  readonly view: Uint8Array | null;
  write(data: Uint8Array): void;
  /** Queues the move of the written bytes to where the run reads them. */
  upload(): void;
  close(): void;
}

/** An output bound for the life of a lane, its dims known. */
export interface OutputSlot {
  readonly spec: TensorSpec;
  readonly bytes: number;
  readonly value: ValueHandle;
  /** Queues the move of what the run wrote to where `read` finds it. */
  download(): void;
  /** What the last run wrote, as far as it was downloaded; the next run writes over it. */
  readonly view: Uint8Array;
  poison(): void;
  close(): void;
}

/** Makes a lane's buffers, and moves their bytes between host and device. */
export interface LaneMemory {
  input(spec: TensorSpec): InputSlot;
  output(spec: TensorSpec): OutputSlot;
  /** Waits for all that was queued. */
  synchronize(): void;
  close(): void;
}

/** On the CPU the run reads and writes the very bytes of the slot: nothing moves. */
function inPlace(): void {}

/** Bytes of a slot whose dtype has a fixed size. */
export function slotBytes(spec: TensorSpec): number {
  const bytes = tensorBytes(spec, `'${spec.name}'`);
  if (bytes === null) throw new OrtError('not-supported', `'${spec.name}' holds strings, which have no fixed size`);
  return bytes;
}

/** Buffers in host memory, read and written by the CPU provider in place. */
export class CpuLaneMemory implements LaneMemory {
  readonly #api: OrtApi;
  readonly #info: MemoryInfoHandle;

  constructor(api: OrtApi) {
    this.#api = api;
    this.#info = createMemoryInfo(api, { provider: 'cpu' });
  }

  input(spec: TensorSpec): InputSlot {
    return spec.dtype === 'string' ? this.#stringInput(spec) : this.#slot(spec);
  }

  output(spec: TensorSpec): OutputSlot {
    return this.#slot(spec);
  }

  #slot(spec: TensorSpec): InputSlot & OutputSlot {
    const bytes = slotBytes(spec);
    const buffer = HostBuffer.allocate(bytes);
    const value = valueOver(this.#api, this.#info, buffer, spec.dtype, spec.dims);
    return {
      spec,
      bytes,
      value,
      get view() {
        return buffer.view;
      },
      write: (data) => buffer.view.set(data),
      upload: inPlace,
      download: inPlace,
      poison: () => {
        buffer.view.fill(POISON);
      },
      close: () => closeAll([value, buffer]),
    };
  }

  #stringInput(spec: TensorSpec): InputSlot {
    const value = createStrings(this.#api, spec.dims);
    return {
      spec,
      bytes: 0,
      value,
      view: null,
      write: (data) => fillStrings(this.#api, value, data),
      upload: inPlace,
      close: () => value.close(),
    };
  }

  synchronize(): void {
    inPlace();
  }

  close(): void {
    this.#info.close();
  }
}
