import type { NamedTensor } from '@warmlane/contracts';
import type { CudaRuntime } from '../native/cuda-runtime.js';
import { closeAll, type Pointer, type ValueHandle } from '../native/handle.js';
import { HostBuffer } from '../native/host-buffer.js';
import { createMemoryInfo, valueOver } from '../native/value.js';
import { slotBytes } from './lane-memory.js';
import type { OrtRuntime } from './ort-runtime.js';

/** A native value that sessions may be made with; it must outlive them. */
export interface SharedValue {
  readonly pointer: Pointer<'Value'>;
}

/**
 * A tensor in native memory with its bytes, for sessions that share it (weights). It must outlive every session that was
 * made with it.
 */
export class TensorValue implements Disposable {
  readonly bytes: number;
  readonly #value: ValueHandle;
  readonly #memory: { close(): void };

  private constructor(value: ValueHandle, memory: { close(): void }, bytes: number) {
    this.#value = value;
    this.#memory = memory;
    this.bytes = bytes;
  }

  /** A copy in host memory. Throws `not-supported` for strings, `out-of-memory`. */
  static onHost(runtime: OrtRuntime, tensor: NamedTensor): TensorValue {
    const bytes = slotBytes(tensor);
    const buffer = HostBuffer.of(tensor.data);
    const info = createMemoryInfo(runtime.api, { provider: 'cpu' });
    try {
      return new TensorValue(valueOver(runtime.api, info, buffer, tensor.dtype, tensor.dims), buffer, bytes);
    } catch (error) {
      buffer.close();
      throw error;
    } finally {
      info.close();
    }
  }

  /** A copy on the device. Throws as `onHost`. */
  static onDevice(runtime: OrtRuntime, cuda: CudaRuntime, tensor: NamedTensor): TensorValue {
    const bytes = slotBytes(tensor);
    const device = cuda.allocate(bytes);
    const info = createMemoryInfo(runtime.api, { provider: 'cuda', device: cuda.device });
    try {
      const staging = cuda.allocatePinned(bytes);
      try {
        staging.view.set(tensor.data);
        cuda.copyToDevice(device.address, staging.address, bytes);
        cuda.synchronize();
      } finally {
        staging.close();
      }
      return new TensorValue(valueOver(runtime.api, info, device, tensor.dtype, tensor.dims), device, bytes);
    } catch (error) {
      device.close();
      throw error;
    } finally {
      info.close();
    }
  }

  /** Throws `closed` after `close()`. */
  get pointer(): Pointer<'Value'> {
    return this.#value.pointer;
  }

  /** Releases the value, then its memory. Safe to repeat. */
  close(): void {
    closeAll([this.#value, this.#memory]);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
