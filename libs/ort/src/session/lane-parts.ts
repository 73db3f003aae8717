import type { DType, NamedTensor, TensorSpec, ValueInfo } from '@warmlane/contracts';
import { callAsync, check, type OrtApi } from '../native/api.js';
import { closeAll, type MemoryInfoHandle, type RunOptionsHandle } from '../native/handle.js';
import { createMemoryInfo, readTensor, typeAndDims } from '../native/value.js';
import { createRunOptions, IoBinding } from './io-binding.js';
import type { InputSlot, LaneMemory, OutputSlot } from './lane-memory.js';
import type { Location } from './placement.js';
import type { OrtSession } from './session.js';
import { isConcrete } from './tensors.js';

/** Where a lane's buffers come from: where the session reads or writes decides which. */
export interface LaneMemories {
  host: LaneMemory;
  /** The provider's own; on the CPU the host's. */
  device: LaneMemory;
}

/** The inputs and outputs of a lane, each with where the session has it. */
export interface LaneShape {
  inputs: readonly { spec: TensorSpec; location: Location }[];
  outputs: readonly { info: ValueInfo; location: Location }[];
}

interface BoundOutput {
  name: string;
  dtype: DType;
  location: Location;
  /** Null: ONNX Runtime allocates the output at each run, in host memory. */
  slot: OutputSlot | null;
  /** The shape was read off a run, not from the model: a later run may have another one. */
  observed: boolean;
}

interface Released {
  output: BoundOutput;
  slot: OutputSlot;
}

/**
 * The native side of one bound lane: session, run options, buffers, values, binding; closed in the fixed order binding,
 * values, buffers, run options, session.
 */
export class LaneParts {
  readonly session: OrtSession;
  readonly inputs: readonly InputSlot[];
  readonly #api: OrtApi;
  readonly #memories: LaneMemories;
  readonly #binding: IoBinding;
  readonly #host: MemoryInfoHandle;
  readonly #outputs: BoundOutput[];
  #runOptions: RunOptionsHandle;
  #dataDependent = false;

  /** Takes over session and memories, also where it throws. */
  constructor(
    session: OrtSession,
    memories: LaneMemories,
    shape: LaneShape,
    runEntries: Readonly<Record<string, string>>,
  ) {
    const made: { close(): void }[] = [];
    const keep = <T extends { close(): void }>(item: T): T => {
      made.push(item);
      return item;
    };
    keep(session);
    keep(memories.host);
    keep(memories.device);
    try {
      this.#api = session.api;
      this.session = session;
      this.#memories = memories;
      this.#runOptions = keep(createRunOptions(session.api, runEntries));
      this.#host = keep(createMemoryInfo(session.api, { provider: 'cpu' }));
      this.inputs = shape.inputs.map(({ spec, location }) => keep(memories[location].input(spec)));
      this.#outputs = shape.outputs.map(({ info: { name, dtype, dims }, location }) => ({
        name,
        dtype,
        location,
        slot: dtype !== 'string' && isConcrete(dims) ? keep(memories[location].output({ name, dtype, dims })) : null,
        observed: false,
      }));
      this.#binding = keep(new IoBinding(session.api, session.pointer));
      for (const input of this.inputs) this.#binding.bindInput(input.spec.name, input.value);
      for (const output of this.#outputs) this.#bind(output);
    } catch (error) {
      closeAll(made.reverse());
      throw error;
    }
  }

  get outputNames(): string[] {
    return this.#outputs.map((output) => output.name);
  }

  /** Some output's shape is not fixed by the lane's shape: it stays with ONNX Runtime. */
  get dataDependent(): boolean {
    return this.#dataDependent;
  }

  /** Every output has a buffer of the lane's own, as a captured graph needs. */
  get fullyBound(): boolean {
    return this.#outputs.every((output) => output.slot !== null);
  }

  /** Bytes of the lane's buffers. */
  get bufferBytes(): number {
    const all = [...this.inputs, ...this.#outputs.map((output) => output.slot)];
    return all.reduce((sum, slot) => sum + (slot?.bytes ?? 0), 0);
  }

  #bind(output: BoundOutput): void {
    if (output.slot === null) this.#binding.bindOutputTo(output.name, this.#host);
    else this.#binding.bindOutput(output.name, output.slot.value);
  }

  setRunOptions(entries: Readonly<Record<string, string>>): void {
    const next = createRunOptions(this.#api, entries);
    this.#runOptions.close();
    this.#runOptions = next;
  }

  /** Inputs in the lane's order, checked. */
  write(inputs: readonly NamedTensor[]): void {
    inputs.forEach((tensor, at) => {
      this.inputs[at]?.write(tensor.data);
    });
    this.upload();
  }

  /** What lies in the input buffers goes to where the run reads it. */
  upload(): void {
    for (const input of this.inputs) input.upload();
    this.#memories.device.synchronize();
  }

  execute(): void {
    try {
      this.#runNow();
    } catch (error) {
      const released = this.#releaseObserved();
      if (released.length === 0) throw error;
      try {
        this.#runNow();
      } catch {
        this.#restore(released);
        throw error;
      }
      this.#settle(released);
    }
  }

  async executeAsync(): Promise<void> {
    try {
      await this.#runOnPool();
    } catch (error) {
      const released = this.#releaseObserved();
      if (released.length === 0) throw error;
      try {
        await this.#runOnPool();
      } catch {
        this.#restore(released);
        throw error;
      }
      this.#settle(released);
    }
  }

  /**
   * A binding keeps the value that ONNX Runtime allocated for an output and writes into it again at the next run, where
   * another shape would fail: so each run gets it anew.
   */
  #bindLibraryOutputs(): void {
    for (const output of this.#outputs) if (output.slot === null) this.#bind(output);
  }

  #runNow(): void {
    this.#bindLibraryOutputs();
    check(this.#api, this.#api.runWithBinding(this.session.pointer, this.#runOptions.pointer, this.#binding.pointer));
  }

  #runOnPool(): Promise<void> {
    this.#bindLibraryOutputs();
    return callAsync(
      this.#api,
      this.#api.runWithBinding,
      this.session.pointer,
      this.#runOptions.pointer,
      this.#binding.pointer,
    );
  }

  /**
   * ONNX Runtime fails a run whose output does not have the shape of its buffer. So a failed run with observed shapes is
   * tried once more with those outputs left to ONNX Runtime: if that works, it was the shape.
   */
  #releaseObserved(): Released[] {
    return this.#outputs.flatMap((output) => {
      const { slot } = output;
      if (!output.observed || slot === null) return [];
      output.slot = null;
      return [{ output, slot }];
    });
  }

  #restore(released: readonly Released[]): void {
    for (const { output, slot } of released) {
      output.slot = slot;
      this.#bind(output);
    }
  }

  #settle(released: readonly Released[]): void {
    this.#dataDependent = true;
    closeAll(released.map(({ slot }) => slot));
  }

  #libraryDims(): Map<string, number[]> {
    const values = this.#binding.outputValues();
    try {
      return new Map(
        this.#outputs.flatMap((output, at) => {
          const value = values[at];
          return value === undefined ? [] : [[output.name, typeAndDims(this.#api, value).dims] as const];
        }),
      );
    } finally {
      closeAll(values);
    }
  }

  /** Shapes of the outputs as the last run gave them. */
  outputSpecs(): TensorSpec[] {
    const dims = this.#libraryDims();
    return this.#outputs.map(({ name, dtype }) => ({ name, dtype, dims: dims.get(name) ?? [] }));
  }

  /** Gives every output its own buffer by the shape of the last run. True: there was one without, run once more. */
  bindObserved(): boolean {
    const specs = this.outputSpecs();
    let changed = false;
    this.#outputs.forEach((output, at) => {
      const spec = specs[at];
      if (output.slot !== null || output.dtype === 'string' || spec === undefined || this.#dataDependent) return;
      output.slot = this.#memories[output.location].output(spec);
      output.observed = true;
      this.#bind(output);
      changed = true;
    });
    return changed;
  }

  /**
   * The outputs at these positions: copies, or (`inPlace`) the lane's own bytes where it has them, which the next run
   * writes over.
   */
  read(positions: readonly number[], inPlace = false): NamedTensor[] {
    const bytesOf = (slot: OutputSlot) => (inPlace ? slot.view : slot.view.slice());
    const picked = positions.flatMap((at) => this.#outputs[at] ?? []);
    const slots = picked.flatMap((output) => output.slot ?? []);
    for (const slot of slots) slot.download();
    this.#memories.device.synchronize();
    if (slots.length === picked.length) {
      return slots.map((slot) => ({ ...slot.spec, data: bytesOf(slot) }));
    }
    const values = this.#binding.outputValues();
    try {
      return positions.flatMap((at) => {
        const output = this.#outputs[at];
        const value = values[at];
        if (output === undefined || value === undefined) return [];
        if (output.slot !== null) return [{ ...output.slot.spec, data: bytesOf(output.slot) }];
        return [{ name: output.name, ...readTensor(this.#api, value) }];
      });
    } finally {
      closeAll(values);
    }
  }

  poison(): void {
    for (const output of this.#outputs) output.slot?.poison();
  }

  close(): void {
    closeAll([
      this.#binding,
      ...this.#outputs.map((output) => output.slot),
      ...this.inputs,
      this.#memories.device,
      this.#memories.host,
      this.#host,
      this.#runOptions,
      this.session,
    ]);
  }
}
