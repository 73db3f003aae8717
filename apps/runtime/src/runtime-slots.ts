import type { LaneItemsRun, LaneRun, NamedTensor } from '@warmlane/contracts';
import { revive, SHARERS_PER_DEVICE, SharedMemory, SlotTensor } from '@warmlane/shm';
import { SlotMaps } from './slot-maps.js';

/** What the runtime hands out is read within this, or belongs to nobody any more. */
const OUTPUT_TTL_MS = 30_000;
/** Mappings of deleted slots are given back this often: until then their memory is not free. */
const TIDY_MS = 10_000;

export interface RuntimeSlotsOptions {
  /** The tmpfs; null: no slots. */
  dir: string | null;
  /** As of SharedMemory. */
  limitBytes: number | null;
  /** The worker, with whose end this process's slots end. */
  keeperPid: number;
}

/** Shared memory in the one process that maps it: inputs are read where they lie, large outputs are written to slots. */
export class RuntimeSlots {
  readonly #memory: SharedMemory | null;
  readonly #maps = new SlotMaps();
  readonly #timer: NodeJS.Timeout;

  private constructor(memory: SharedMemory | null) {
    this.#memory = memory;
    this.#timer = setInterval(() => this.#maps.tidy(), TIDY_MS);
    this.#timer.unref();
  }

  static open({ dir, limitBytes, keeperPid }: RuntimeSlotsOptions): RuntimeSlots {
    return new RuntimeSlots(
      dir === null ? null : new SharedMemory({ dir, limitBytes, sharers: SHARERS_PER_DEVICE, keeperPid }),
    );
  }

  /**
   * The tensors with their bytes, no copy of those in slots: to be read before the caller gives way to the event loop.
   * Throws `tensor-gone`.
   */
  open(tensors: readonly NamedTensor[]): NamedTensor[] {
    const memory = this.#memory;
    if (memory === null) return [...tensors];
    return revive(tensors, memory.reader).map((tensor) => {
      if (!(tensor instanceof SlotTensor)) return tensor;
      const { name, dtype, dims, slot } = tensor;
      return { name, dtype, dims, data: this.#maps.open(memory.reader.fileOf(slot), slot) };
    });
  }

  /** A run's result with its large outputs in slots; `borrowed` ones that stay are copied. */
  handOut(run: LaneRun, borrowed: boolean): LaneRun {
    const start = performance.now();
    const outputs = this.#toSlots(run.outputs, borrowed);
    return { ...run, outputs, copyMs: run.copyMs + performance.now() - start };
  }

  /** The same of items that ran together; all are borrowed. */
  handOutItems(run: LaneItemsRun): LaneItemsRun {
    const start = performance.now();
    const items = run.items.map((outputs) => this.#toSlots(outputs, true));
    return { ...run, items, copyMs: run.copyMs + performance.now() - start };
  }

  /** @param borrowed their bytes are the lane's own, which the next run writes over */
  #toSlots(outputs: readonly NamedTensor[], borrowed: boolean): NamedTensor[] {
    return outputs.map((output) => {
      const slot = this.#memory?.putNow(output.data, OUTPUT_TTL_MS) ?? null;
      if (slot !== null && this.#memory !== null) return new SlotTensor(output, slot, this.#memory.reader);
      return borrowed ? { ...output, data: new Uint8Array(output.data) } : output;
    });
  }

  close(): void {
    clearInterval(this.#timer);
    this.#maps.close();
    this.#memory?.close();
  }
}
