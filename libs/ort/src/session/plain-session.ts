import { checkInputs, type ModelMetadata, type NamedTensor } from '@warmlane/contracts';
import { callAsync, check } from '../native/api.js';
import { closeAll, type MemoryInfoHandle, type RunOptionsHandle } from '../native/handle.js';
import { createMemoryInfo, readTensor } from '../native/value.js';
import { InFlight } from './in-flight.js';
import { createRunOptions, IoBinding } from './io-binding.js';
import { CpuLaneMemory, type InputSlot } from './lane-memory.js';
import type { RunResult } from './lane-port.js';
import type { OrtRuntime } from './ort-runtime.js';
import { createSession, NO_OPTIONS, type OrtSession, type SessionSpec } from './session.js';
import { pickOutputs } from './tensors.js';

interface Prepared {
  binding: IoBinding;
  inputs: InputSlot[];
  names: string[];
}

/**
 * A session that takes any shape: inputs from host memory, outputs allocated by ONNX Runtime in host memory. Slow at
 * every new shape on CUDA. Several `runAsync` may be under way at once.
 */
export class PlainSession implements Disposable {
  readonly metadata: ModelMetadata;
  readonly optionsParsed: Readonly<Record<string, string>>;
  readonly placement: Readonly<Record<string, number>>;
  readonly #session: OrtSession;
  readonly #memory: CpuLaneMemory;
  readonly #host: MemoryInfoHandle;
  readonly #runOptions: RunOptionsHandle;
  readonly #inFlight = new InFlight('session', false);

  private constructor(session: OrtSession, runEntries: Readonly<Record<string, string>>) {
    this.#session = session;
    this.metadata = session.metadata;
    this.optionsParsed = { ...session.optionsParsed, ...runEntries };
    this.placement = session.placement.counts;
    this.#memory = new CpuLaneMemory(session.api);
    this.#host = createMemoryInfo(session.api, { provider: 'cpu' });
    this.#runOptions = createRunOptions(session.api, runEntries);
  }

  /** Creates the session on a pool thread. Throws as `createSession`. */
  static async create(runtime: OrtRuntime, spec: SessionSpec): Promise<PlainSession> {
    const session = await createSession(runtime, spec);
    try {
      return new PlainSession(session, (spec.options ?? NO_OPTIONS).run);
    } catch (error) {
      session.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.#inFlight.closed;
  }

  /** One run on this thread. Inputs in any order; throws `bad-request` where they disagree with the model. */
  run(inputs: readonly NamedTensor[], names?: readonly string[] | null): RunResult {
    this.#inFlight.enter();
    try {
      const start = performance.now();
      const prepared = this.#prepare(inputs, names);
      try {
        const written = performance.now();
        const { api, pointer } = this.#session;
        check(api, api.runWithBinding(pointer, this.#runOptions.pointer, prepared.binding.pointer));
        return this.#finish(prepared, start, written);
      } finally {
        release(prepared);
      }
    } finally {
      this.#inFlight.leave();
    }
  }

  /** The same on a pool thread. */
  async runAsync(inputs: readonly NamedTensor[], names?: readonly string[] | null): Promise<RunResult> {
    this.#inFlight.enter();
    try {
      const start = performance.now();
      const prepared = this.#prepare(inputs, names);
      try {
        const written = performance.now();
        const { api, pointer } = this.#session;
        await callAsync(api, api.runWithBinding, pointer, this.#runOptions.pointer, prepared.binding.pointer);
        return this.#finish(prepared, start, written);
      } finally {
        release(prepared);
      }
    } finally {
      this.#inFlight.leave();
    }
  }

  #prepare(given: readonly NamedTensor[], wanted: readonly string[] | null | undefined): Prepared {
    const tensors = checkInputs(this.metadata, given).inputs;
    const all = this.metadata.outputs.map((output) => output.name);
    const names = pickOutputs(all, wanted).flatMap((at) => all[at] ?? []);
    const binding = new IoBinding(this.#session.api, this.#session.pointer);
    const inputs: InputSlot[] = [];
    try {
      for (const tensor of tensors) {
        const slot = this.#memory.input(tensor);
        inputs.push(slot);
        slot.write(tensor.data);
        binding.bindInput(tensor.name, slot.value);
      }
      for (const name of names) binding.bindOutputTo(name, this.#host);
      binding.synchronizeInputs();
    } catch (error) {
      release({ binding, inputs, names });
      throw error;
    }
    return { binding, inputs, names };
  }

  #finish(prepared: Prepared, start: number, written: number): RunResult {
    prepared.binding.synchronizeOutputs();
    const computed = performance.now();
    const values = prepared.binding.outputValues();
    try {
      const outputs = prepared.names.flatMap((name, at) => {
        const value = values[at];
        return value === undefined ? [] : [{ name, ...readTensor(this.#session.api, value) }];
      });
      const end = performance.now();
      return { outputs, copyMs: written - start + (end - computed), computeMs: computed - written };
    } finally {
      closeAll(values);
    }
  }

  /** Bytes held by the session's allocator. */
  memoryBytes(): number {
    return this.#session.allocatorStats()?.totalAllocated ?? 0;
  }

  /** Safe to repeat; waits for running calls. */
  close(): void {
    this.#inFlight.close(() => closeAll([this.#memory, this.#host, this.#runOptions, this.#session]));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function release(prepared: Prepared): void {
  closeAll([prepared.binding, ...prepared.inputs]);
}
