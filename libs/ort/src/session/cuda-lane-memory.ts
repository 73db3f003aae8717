import type { TensorSpec } from '@warmlane/contracts';
import type { OrtApi } from '../native/api.js';
import type { CudaRuntime, DeviceBuffer } from '../native/cuda-runtime.js';
import { closeAll, type MemoryInfoHandle, type ValueHandle } from '../native/handle.js';
import type { HostBuffer } from '../native/host-buffer.js';
import { createMemoryInfo, valueOver } from '../native/value.js';
import { type InputSlot, type LaneMemory, type OutputSlot, POISON, slotBytes } from './lane-memory.js';

/** A tensor on the device with its pinned staging bytes on the host. */
class CudaSlot implements InputSlot, OutputSlot {
  readonly spec: TensorSpec;
  readonly bytes: number;
  readonly value: ValueHandle;
  readonly #cuda: CudaRuntime;
  readonly #device: DeviceBuffer;
  readonly #staging: HostBuffer;

  constructor(api: OrtApi, cuda: CudaRuntime, info: MemoryInfoHandle, spec: TensorSpec) {
    this.spec = spec;
    this.bytes = slotBytes(spec);
    this.#cuda = cuda;
    this.#device = cuda.allocate(this.bytes);
    try {
      this.#staging = cuda.allocatePinned(this.bytes);
    } catch (error) {
      this.#device.close();
      throw error;
    }
    try {
      this.value = valueOver(api, info, this.#device, spec.dtype, spec.dims);
    } catch (error) {
      closeAll([this.#staging, this.#device]);
      throw error;
    }
  }

  get view(): Uint8Array {
    return this.#staging.view;
  }

  write(data: Uint8Array): void {
    this.#staging.view.set(data);
  }

  upload(): void {
    this.#cuda.copyToDevice(this.#device.address, this.#staging.address, this.bytes);
  }

  download(): void {
    this.#cuda.copyToHost(this.#staging.address, this.#device.address, this.bytes);
  }

  poison(): void {
    this.#staging.view.fill(POISON);
    this.#cuda.fill(this.#device.address, POISON, this.bytes);
    this.#cuda.synchronize();
  }

  close(): void {
    closeAll([this.value, this.#staging, this.#device]);
  }
}

/**
 * Buffers on the device. Inputs are written to pinned staging, copied over and waited for before the run, outputs
 * likewise after it: ONNX Runtime runs on a stream of its own and gives none away (a stream of ours breaks the capture),
 * so only waiting orders the two.
 */
export class CudaLaneMemory implements LaneMemory {
  readonly #api: OrtApi;
  readonly #cuda: CudaRuntime;
  readonly #info: MemoryInfoHandle;

  constructor(api: OrtApi, cuda: CudaRuntime) {
    this.#api = api;
    this.#cuda = cuda;
    this.#info = createMemoryInfo(api, { provider: 'cuda', device: cuda.device });
  }

  input(spec: TensorSpec): InputSlot {
    return new CudaSlot(this.#api, this.#cuda, this.#info, spec);
  }

  output(spec: TensorSpec): OutputSlot {
    return new CudaSlot(this.#api, this.#cuda, this.#info, spec);
  }

  synchronize(): void {
    this.#cuda.synchronize();
  }

  close(): void {
    this.#info.close();
  }
}
