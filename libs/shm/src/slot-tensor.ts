import { type DType, type NamedTensor, type SlotRef, slotRefSchema, type TensorSpec } from '@warmlane/contracts';
import { HeldTensor } from './held-slot.js';
import type { SlotReader } from './slot-reader.js';

/**
 * A tensor whose bytes lie in a slot. Sent to a process that maps slots it is a reference, because `data` is no own
 * property; read here it is the bytes.
 */
export class SlotTensor implements NamedTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly dims: number[];
  #data: Uint8Array | null;
  readonly #reader: SlotReader;

  /** @param data the bytes themselves, where they are at hand */
  constructor(
    spec: TensorSpec,
    readonly slot: SlotRef,
    reader: SlotReader,
    data: Uint8Array | null = null,
  ) {
    this.name = spec.name;
    this.dtype = spec.dtype;
    this.dims = spec.dims;
    this.#reader = reader;
    this.#data = data;
  }

  /** Reads on this thread at the first use. Throws `tensor-gone`. */
  get data(): Uint8Array {
    this.#data ??= this.#reader.readNow(this.slot);
    return this.#data;
  }

  /** The same tensor with its bytes as its own property, read on a pool thread. Rejects with `tensor-gone`. */
  async load(): Promise<NamedTensor> {
    this.#data ??= await this.#reader.read(this.slot);
    return { name: this.name, dtype: this.dtype, dims: this.dims, data: this.#data };
  }

  /** Tells the slot's owner that nobody reads it any more. */
  free(): void {
    this.#reader.free(this.slot);
  }
}

/** Bytes of a tensor, without reading them. */
export function bytesOfTensor(tensor: NamedTensor): number {
  if (tensor instanceof SlotTensor) return tensor.slot.bytes;
  return tensor instanceof HeldTensor ? tensor.held.ref.bytes : tensor.data.byteLength;
}

/** For a process that maps no slots: all bytes here. */
export function loadTensors(tensors: readonly NamedTensor[]): Promise<NamedTensor[]> {
  return Promise.all(tensors.map(async (tensor) => (tensor instanceof SlotTensor ? await tensor.load() : tensor)));
}

/** Tensors as they came from another process: those that are references can be read again. */
export function revive(tensors: readonly NamedTensor[], reader: SlotReader): NamedTensor[] {
  return tensors.map((tensor) => {
    if (!('slot' in tensor) || tensor instanceof SlotTensor) return tensor;
    return new SlotTensor(tensor, slotRefSchema.parse(tensor.slot), reader);
  });
}
