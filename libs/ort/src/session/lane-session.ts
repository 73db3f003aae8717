import { type NamedTensor, type ProviderName, type TensorSpec, WarmlaneError } from '@warmlane/contracts';
import { closeAll } from '../native/handle.js';
import { OrtError } from '../native/ort-error.js';
import { InFlight } from './in-flight.js';
import { type FullLaneSpec, GRAPH_OPTION, type LaneSpec, type MadeLane, makeLane, THE_GRAPH } from './lane-factory.js';
import type { LaneParts } from './lane-parts.js';
import type { Capture, FirstRun, LaneSessionPort, RunResult } from './lane-port.js';
import type { OrtRuntime } from './ort-runtime.js';
import { NO_OPTIONS, readModelMetadata } from './session.js';
import { matchInputs, pickOutputs } from './tensors.js';

/**
 * A lane on ONNX Runtime: one session with its free dimensions fixed to one shape, and buffers bound for its life. See
 * {@link LaneSessionPort} for the contract. What creation, `rebuild`, `first` and `runAsync` do on
 * pool threads allocates on the device and breaks a capture that is under way: let them finish before one.
 */
export class LaneSession implements LaneSessionPort, Disposable {
  readonly provider: ProviderName;
  readonly inputs: readonly TensorSpec[];
  readonly #runtime: OrtRuntime;
  readonly #spec: FullLaneSpec;
  readonly #inFlight = new InFlight('lane', true);
  #parts: LaneParts;
  #graph: string;
  #mayCapture: boolean;
  #captured = false;
  #broken = false;

  private constructor(runtime: OrtRuntime, spec: FullLaneSpec, made: MadeLane) {
    this.#runtime = runtime;
    this.#spec = spec;
    this.provider = spec.provider;
    this.inputs = spec.inputs.map((input) => ({ ...input, dims: [...input.dims] }));
    this.#parts = made.parts;
    this.#graph = made.graph;
    this.#mayCapture = made.mayCapture;
  }

  /**
   * Creates the session on a pool thread and binds its buffers. Throws OrtError: ONNX Runtime's own message for a model
   * that it refuses, `placement`, `missing-library`, `out-of-memory`, `option-not-taken`; `weights` are still the
   * caller's then.
   */
  static async create(runtime: OrtRuntime, spec: LaneSpec): Promise<LaneSession> {
    const metadata = spec.metadata ?? (await readModelMetadata(runtime, spec.model));
    const full = { ...spec, metadata };
    return new LaneSession(runtime, full, await makeLane(runtime, full, true));
  }

  get optionsParsed(): Readonly<Record<string, string>> {
    return { ...this.#parts.session.optionsParsed, ...this.#runEntries() };
  }

  get placement(): Readonly<Record<string, number>> {
    return this.#parts.session.placement.counts;
  }

  get graph(): string {
    return this.#graph;
  }

  get dataDependent(): boolean {
    return this.#parts.dataDependent;
  }

  get closed(): boolean {
    return this.#inFlight.closed;
  }

  #enter(): void {
    if (this.#broken) {
      throw new OrtError('fail', `the capture of this lane failed: ${this.#graph}`, 'Call rebuild, then first.');
    }
    this.#inFlight.enter();
  }

  /** ONNX Runtime keeps a graph per thread: a run on another one would capture again, in silence. */
  #refuseOffThread(): void {
    if (!this.#captured) return;
    throw new OrtError('not-supported', 'a captured graph belongs to the thread that captured it', 'Call run.');
  }

  async first(inputs: readonly NamedTensor[]): Promise<FirstRun> {
    const given = matchInputs(this.inputs, inputs);
    this.#refuseOffThread();
    this.#enter();
    try {
      this.#parts.write(given);
      const start = performance.now();
      await this.#parts.executeAsync();
      const firstMs = performance.now() - start;
      const outputs = this.#parts.outputSpecs();
      if (this.#parts.bindObserved()) await this.#parts.executeAsync();
      return { firstMs, outputs };
    } finally {
      this.#inFlight.leave();
    }
  }

  capture(): Capture {
    this.#enter();
    try {
      return this.#captureNow();
    } finally {
      this.#inFlight.leave();
    }
  }

  #captureNow(): Capture {
    if (!this.#mayCapture) return { captureMs: null, graph: this.#graph, retry: false, broken: false };
    if (!this.#parts.fullyBound) {
      this.#mayCapture = false;
      this.#graph = "an output's shape is not known before the run";
      return { captureMs: null, graph: this.#graph, retry: false, broken: false };
    }
    const start = performance.now();
    try {
      this.#parts.setRunOptions({ ...this.#runEntries(), [GRAPH_OPTION]: THE_GRAPH });
      this.#parts.execute();
    } catch (error) {
      if (!(error instanceof OrtError) || error.poisonsProcess) throw error;
      this.#mayCapture = false;
      this.#graph = error.message;
      this.#broken = true;
      return { captureMs: null, graph: error.message, retry: error.brokeCapture, broken: true };
    }
    // The capture itself reads no sizes: an output that came out in another one now follows the data, and a graph would
    // keep what it saw first.
    if (this.#parts.dataDependent) {
      this.#mayCapture = false;
      this.#graph = "an output's shape follows the data";
      this.#broken = true;
      return { captureMs: null, graph: this.#graph, retry: false, broken: true };
    }
    this.#captured = true;
    this.#graph = 'captured';
    return { captureMs: performance.now() - start, graph: this.#graph, retry: false, broken: false };
  }

  #runEntries(): Record<string, string> {
    return (this.#spec.options ?? NO_OPTIONS).run;
  }

  /**
   * Makes session and buffers anew, for graphs or without: after a capture that failed, since a broken capture leaves
   * the old session's stream in an unknown state. `first` has to follow.
   */
  async rebuild(withGraph: boolean): Promise<void> {
    this.#inFlight.enter();
    try {
      const reason = this.#graph;
      this.#parts.close();
      const made = await makeLane(this.#runtime, this.#spec, withGraph);
      this.#parts = made.parts;
      this.#mayCapture = made.mayCapture;
      this.#captured = false;
      this.#broken = false;
      this.#graph = withGraph ? made.graph : reason;
    } finally {
      this.#inFlight.leave();
    }
  }

  /** @param inPlace the outputs are the lane's own bytes, as of {@link runInPlace} */
  run(inputs: readonly NamedTensor[], names?: readonly string[] | null, inPlace = false): RunResult {
    const given = matchInputs(this.inputs, inputs);
    const positions = pickOutputs(this.#parts.outputNames, names);
    this.#enter();
    try {
      const start = performance.now();
      this.#parts.write(given);
      return this.#runBound(start, positions, inPlace);
    } finally {
      this.#inFlight.leave();
    }
  }

  /**
   * One run on this thread over what lies in the input buffers already: see `inputView`. The outputs are the lane's own
   * bytes (on CUDA pinned ones): the next run writes over them.
   */
  runInPlace(names?: readonly string[] | null): RunResult {
    const positions = pickOutputs(this.#parts.outputNames, names);
    this.#enter();
    try {
      const start = performance.now();
      this.#parts.upload();
      return this.#runBound(start, positions, true);
    } finally {
      this.#inFlight.leave();
    }
  }

  #runBound(start: number, positions: readonly number[], inPlace: boolean): RunResult {
    const written = performance.now();
    this.#parts.execute();
    const computed = performance.now();
    const outputs = this.#parts.read(positions, inPlace);
    const end = performance.now();
    return { outputs, copyMs: written - start + (end - computed), computeMs: computed - written };
  }

  async runAsync(inputs: readonly NamedTensor[], names?: readonly string[] | null): Promise<RunResult> {
    const given = matchInputs(this.inputs, inputs);
    const positions = pickOutputs(this.#parts.outputNames, names);
    this.#refuseOffThread();
    this.#enter();
    try {
      const start = performance.now();
      this.#parts.write(given);
      const written = performance.now();
      await this.#parts.executeAsync();
      const computed = performance.now();
      const outputs = this.#parts.read(positions);
      const end = performance.now();
      return { outputs, copyMs: written - start + (end - computed), computeMs: computed - written };
    } finally {
      this.#inFlight.leave();
    }
  }

  /** The bytes that the run reads (on CUDA: the pinned ones that are copied to the device), to be written in place. */
  inputView(name: string): Uint8Array {
    const slot = this.#parts.inputs.find((input) => input.spec.name === name);
    if (slot === undefined) throw new WarmlaneError('bad-request', `unknown input '${name}'`);
    if (slot.view === null) throw new OrtError('not-supported', `'${name}' holds strings, which have no buffer`);
    return slot.view;
  }

  poisonOutputs(): void {
    this.#inFlight.enter();
    try {
      this.#parts.poison();
    } finally {
      this.#inFlight.leave();
    }
  }

  memoryBytes(): number {
    this.#inFlight.enter();
    try {
      return (this.#parts.session.allocatorStats()?.totalAllocated ?? 0) + this.#parts.bufferBytes;
    } finally {
      this.#inFlight.leave();
    }
  }

  close(): void {
    this.#inFlight.close(() => closeAll([this.#parts, this.#spec.weights]));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
