import type { ModelMetadata, ParsedOptions, ProviderName, TensorSpec } from '@warmlane/contracts';
import type { CudaRuntime } from '../native/cuda-runtime.js';
import type { PrepackedHandle } from '../native/handle.js';
import { OrtError, type OrtReason } from '../native/ort-error.js';
import { CudaLaneMemory } from './cuda-lane-memory.js';
import { CpuLaneMemory } from './lane-memory.js';
import { type LaneMemories, LaneParts, type LaneShape } from './lane-parts.js';
import type { OrtRuntime } from './ort-runtime.js';
import { createSession, type ModelSource, NO_OPTIONS, type OrtSession } from './session.js';
import type { SharedValue } from './tensor-value.js';
import { freeDimensionsOf, pickOutputs } from './tensors.js';

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
  /** Weights that its model has in common with other lanes; closed by the lane once its session is released. */
  weights?: LaneWeights;
}

/** A lane's part in the weights of its model. `close` gives it back. */
export interface LaneWeights {
  readonly values: ReadonlyMap<string, SharedValue>;
  readonly prepacked: PrepackedHandle | null;
  close(): void;
}

/** A spec with what the model declares. */
export type FullLaneSpec = LaneSpec & { metadata: ModelMetadata };

const NO_GRAPH_YET = 'not captured yet';
const CPU_HAS_NO_GRAPH = 'the CPU provider has no graphs';

/** Run option values: -1 runs without graph, any other number captures or replays the graph of that number. */
export const GRAPH_OPTION = 'gpu_graph_id';
const WITHOUT_GRAPH = '-1';
export const THE_GRAPH = '1';

/** Failures of a creation with `enable_cuda_graph=1` that may come from the graph: ONNX Runtime gives general codes. */
const MAYBE_GRAPH: readonly OrtReason[] = ['fail', 'not-implemented', 'runtime-exception', 'ep-fail'];

export interface MadeLane {
  parts: LaneParts;
  graph: string;
  mayCapture: boolean;
}

/** Creates a lane's session on a pool thread and binds its buffers, for graphs where that is wanted and possible. */
export async function makeLane(runtime: OrtRuntime, spec: FullLaneSpec, withGraph: boolean): Promise<MadeLane> {
  if (spec.provider === 'cpu') {
    const session = await openSession(runtime, spec, spec.options ?? NO_OPTIONS);
    const parts = bind(session, () => cpuMemories(runtime), spec, {});
    return { parts, graph: CPU_HAS_NO_GRAPH, mayCapture: false };
  }
  return makeCuda(runtime, spec, withGraph);
}

async function makeCuda(runtime: OrtRuntime, spec: FullLaneSpec, withGraph: boolean): Promise<MadeLane> {
  const { cuda } = spec;
  if (cuda === undefined) throw new OrtError('invalid-argument', 'a CUDA lane needs the CUDA runtime', 'Pass cuda.');
  const options = cudaLaneOptions(spec.options ?? NO_OPTIONS);
  const wanted = withGraph && options.provider.enable_cuda_graph !== '0';
  const plain = { ...options, provider: { ...options.provider, enable_cuda_graph: '0' } };
  let graph = withGraph ? 'enable_cuda_graph=0' : 'made without a graph';
  if (wanted) {
    try {
      const session = await openSession(runtime, spec, options);
      const parts = bind(session, () => cudaMemories(runtime, cuda), spec, { [GRAPH_OPTION]: WITHOUT_GRAPH });
      const onHost = hostValues(session);
      if (onHost.length === 0) return { parts, graph: NO_GRAPH_YET, mayCapture: true };
      // A replay runs what was captured on the device, and nothing on the host.
      return { parts, graph: `on the host, out of a graph's reach: ${onHost.join(', ')}`, mayCapture: false };
    } catch (error) {
      if (!(error instanceof OrtError) || !MAYBE_GRAPH.includes(error.reason)) throw error;
      graph = error.message;
    }
  }
  const session = await openSession(runtime, spec, plain);
  return { parts: bind(session, () => cudaMemories(runtime, cuda), spec, {}), graph, mayCapture: false };
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

function openSession(runtime: OrtRuntime, spec: FullLaneSpec, options: ParsedOptions): Promise<OrtSession> {
  return createSession(runtime, {
    model: spec.model,
    provider: spec.provider,
    fallback: spec.fallback,
    options,
    device: spec.cuda?.device,
    freeDimensions: freeDimensionsOf(spec.metadata, spec.inputs),
    initializers: spec.weights?.values,
    prepacked: spec.weights?.prepacked,
  });
}

function cpuMemories(runtime: OrtRuntime): LaneMemories {
  const host = new CpuLaneMemory(runtime.api);
  return { host, device: host };
}

function cudaMemories(runtime: OrtRuntime, cuda: CudaRuntime): LaneMemories {
  return { host: new CpuLaneMemory(runtime.api), device: new CudaLaneMemory(runtime.api, cuda) };
}

/** Inputs and outputs that nodes on the CPU read or write. */
function hostValues({ metadata, locations }: OrtSession): string[] {
  return [
    ...metadata.inputs.filter((_, at) => locations.inputs[at] === 'host').map(({ name }) => `input '${name}'`),
    ...metadata.outputs.filter((_, at) => locations.outputs[at] === 'host').map(({ name }) => `output '${name}'`),
  ];
}

/** Takes over the session, also where it throws. */
function bind(
  session: OrtSession,
  memories: () => LaneMemories,
  spec: LaneSpec,
  runEntries: Record<string, string>,
): LaneParts {
  try {
    const entries = { ...(spec.options ?? NO_OPTIONS).run, ...runEntries };
    return new LaneParts(session, memories(), laneShape(session, spec), entries);
  } catch (error) {
    session.close();
    throw error;
  }
}

function laneShape({ metadata, locations }: OrtSession, spec: LaneSpec): LaneShape {
  const names = metadata.outputs.map((output) => output.name);
  return {
    inputs: spec.inputs.map((input, at) => ({ spec: input, location: locations.inputs[at] ?? 'host' })),
    outputs: pickOutputs(names, spec.outputs).flatMap((at) => {
      const info = metadata.outputs[at];
      return info === undefined ? [] : [{ info, location: locations.outputs[at] ?? 'host' }];
    }),
  };
}
