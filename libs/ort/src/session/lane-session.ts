import {
  type ModelMetadata,
  type NamedTensor,
  type ParsedOptions,
  type ProviderName,
  type TensorSpec,
  type ValueInfo,
  WarmlaneError,
} from '@warmlane/contracts';
import type { CudaRuntime } from '../native/cuda-runtime.js';
import { OrtError, type OrtReason } from '../native/ort-error.js';
import { CudaLaneMemory } from './cuda-lane-memory.js';
import { InFlight } from './in-flight.js';
import { CpuLaneMemory, type LaneMemory } from './lane-memory.js';
import { LaneParts } from './lane-parts.js';
import type { Capture, FirstRun, LaneSessionPort, RunResult } from './lane-port.js';
import type { OrtRuntime } from './ort-runtime.js';
import { createSession, type ModelSource, NO_OPTIONS, type OrtSession, readModelMetadata } from './session.js';
import type { TensorValue } from './tensor-value.js';
import { freeDimensionsOf, matchInputs, pickOutputs } from './tensors.js';

export interface LaneSpec {
  model: ModelSource;
  provider: ProviderName;
  /** `error` (default): a node on another provider fails the creation and is named. */
  fallback?: 'error' | 'allow';
  /** As the provider-option table's parser gives them. */
  options?: ParsedOptions;
  /** What the model declares; read from the model (a session of its own) where it is not given. */
  metadata?: ModelMetadata;
  /** Concrete dims, in the model's order. */
  inputs: readonly TensorSpec[];
  /** Names; default all. */
  outputs?: readonly string[];
  /** CUDA only: the device and who copies. It must outlive the lane. */
  cuda?: CudaRuntime;
  /**
   * Values that stand in for initialisers of the model, by name; they must outlive the lane. ONNX Runtime takes a name
   * that the model does not have in silence.
   */
  initializers?: ReadonlyMap<string, TensorValue>;
}

const NO_GRAPH_YET = 'not captured yet';
const CPU_HAS_NO_GRAPH = 'the CPU provider has no graphs';

/** Run option values: -1 runs without graph, any other number captures or replays the graph of that number. */
const GRAPH_OPTION = 'gpu_graph_id';
const WITHOUT_GRAPH = '-1';
const THE_GRAPH = '1';

/** Failures of a creation with `enable_cuda_graph=1` that may come from the graph: ONNX Runtime gives general codes. */
const MAYBE_GRAPH: readonly OrtReason[] = ['fail', 'not-implemented', 'runtime-exception', 'ep-fail'];

/**
 * A lane on ONNX Runtime: one session with its free dimensions fixed to one shape, and buffers bound for its life. See
 * {@link LaneSessionPort} for the contract. Creation, `rebuild` and `close` allocate and free on the device: hold them
 * apart from captures of other lanes.
 */
export class LaneSession implements LaneSessionPort, Disposable {
  readonly provider: ProviderName;
  readonly inputs: readonly TensorSpec[];
  readonly #runtime: OrtRuntime;
  readonly #spec: LaneSpec & { metadata: ModelMetadata };
  readonly #inFlight = new InFlight('lane', true);
  #parts: LaneParts;
  #graph: string;
  #mayCapture: boolean;
  #captured = false;
  #broken = false;

  private constructor(runtime: OrtRuntime, spec: LaneSpec & { metadata: ModelMetadata }, made: Made) {
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
   * that it refuses, `placement`, `missing-library`, `out-of-memory`, `option-not-taken`.
   */
  static async create(runtime: OrtRuntime, spec: LaneSpec): Promise<LaneSession> {
    const metadata = spec.metadata ?? (await readModelMetadata(runtime, spec.model));
    const full = { ...spec, metadata };
    return new LaneSession(runtime, full, await make(runtime, full, true));
  }

  get optionsParsed(): Readonly<Record<string, string>> {
    return this.#parts.session.optionsParsed;
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

  async first(inputs: readonly NamedTensor[]): Promise<FirstRun> {
    const given = matchInputs(this.inputs, inputs);
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
      const made = await make(this.#runtime, this.#spec, withGraph);
      this.#parts = made.parts;
      this.#mayCapture = made.mayCapture;
      this.#captured = false;
      this.#broken = false;
      this.#graph = withGraph ? made.graph : reason;
    } finally {
      this.#inFlight.leave();
    }
  }

  run(inputs: readonly NamedTensor[], names?: readonly string[] | null): RunResult {
    const given = matchInputs(this.inputs, inputs);
    const positions = pickOutputs(this.#parts.outputNames, names);
    this.#enter();
    try {
      const start = performance.now();
      this.#parts.write(given);
      return this.#runBound(start, positions);
    } finally {
      this.#inFlight.leave();
    }
  }

  /** One run on this thread over what lies in the input buffers already: see `inputView`. */
  runInPlace(names?: readonly string[] | null): RunResult {
    const positions = pickOutputs(this.#parts.outputNames, names);
    this.#enter();
    try {
      const start = performance.now();
      this.#parts.upload();
      return this.#runBound(start, positions);
    } finally {
      this.#inFlight.leave();
    }
  }

  #runBound(start: number, positions: readonly number[]): RunResult {
    const written = performance.now();
    this.#parts.execute();
    const computed = performance.now();
    const outputs = this.#parts.read(positions);
    const end = performance.now();
    return { outputs, copyMs: written - start + (end - computed), computeMs: computed - written };
  }

  async runAsync(inputs: readonly NamedTensor[], names?: readonly string[] | null): Promise<RunResult> {
    const given = matchInputs(this.inputs, inputs);
    const positions = pickOutputs(this.#parts.outputNames, names);
    if (this.#captured) {
      throw new OrtError('not-supported', 'a captured graph belongs to the thread that captured it', 'Call run.');
    }
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
    this.#inFlight.close(() => this.#parts.close());
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

interface Made {
  parts: LaneParts;
  graph: string;
  mayCapture: boolean;
}

async function make(
  runtime: OrtRuntime,
  spec: LaneSpec & { metadata: ModelMetadata },
  withGraph: boolean,
): Promise<Made> {
  if (spec.provider === 'cpu') {
    const session = await openSession(runtime, spec, spec.options ?? NO_OPTIONS);
    const parts = bind(session, new CpuLaneMemory(runtime.api), spec, {});
    return { parts, graph: CPU_HAS_NO_GRAPH, mayCapture: false };
  }
  return makeCuda(runtime, spec, withGraph);
}

async function makeCuda(
  runtime: OrtRuntime,
  spec: LaneSpec & { metadata: ModelMetadata },
  withGraph: boolean,
): Promise<Made> {
  const { cuda } = spec;
  if (cuda === undefined) throw new OrtError('invalid-argument', 'a CUDA lane needs the CUDA runtime', 'Pass cuda.');
  const options = cudaLaneOptions(spec.options ?? NO_OPTIONS);
  const wanted = withGraph && options.provider.enable_cuda_graph !== '0';
  const plain = { ...options, provider: { ...options.provider, enable_cuda_graph: '0' } };
  let graph = withGraph ? 'enable_cuda_graph=0' : 'made without a graph';
  if (wanted) {
    try {
      const session = await openSession(runtime, spec, options);
      const parts = bind(session, new CudaLaneMemory(runtime.api, cuda), spec, { [GRAPH_OPTION]: WITHOUT_GRAPH });
      return { parts, graph: NO_GRAPH_YET, mayCapture: true };
    } catch (error) {
      if (!(error instanceof OrtError) || !MAYBE_GRAPH.includes(error.reason)) throw error;
      graph = error.message;
    }
  }
  const session = await openSession(runtime, spec, plain);
  return { parts: bind(session, new CudaLaneMemory(runtime.api, cuda), spec, {}), graph, mayCapture: false };
}

/**
 * The user's options over a CUDA lane's own defaults: graphs, and one intra-op thread, since every session starts a
 * thread pool of its own that has nothing to do here.
 */
function cudaLaneOptions(options: ParsedOptions): ParsedOptions {
  return {
    provider: { enable_cuda_graph: '1', ...options.provider },
    session: { intra_op_num_threads: '1', ...options.session },
    run: options.run,
  };
}

function openSession(
  runtime: OrtRuntime,
  spec: LaneSpec & { metadata: ModelMetadata },
  options: ParsedOptions,
): Promise<OrtSession> {
  return createSession(runtime, {
    model: spec.model,
    provider: spec.provider,
    fallback: spec.fallback,
    options,
    device: spec.cuda?.device,
    freeDimensions: freeDimensionsOf(spec.metadata, spec.inputs),
    initializers: spec.initializers,
  });
}

function bind(session: OrtSession, memory: LaneMemory, spec: LaneSpec, runEntries: Record<string, string>): LaneParts {
  const declared = session.metadata.outputs;
  const outputs: ValueInfo[] = pickOutputs(
    declared.map((output) => output.name),
    spec.outputs,
  ).flatMap((at) => declared[at] ?? []);
  return new LaneParts(
    session,
    memory,
    { inputs: spec.inputs, outputs },
    { ...(spec.options ?? NO_OPTIONS).run, ...runEntries },
  );
}
