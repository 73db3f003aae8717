import type { DType, ParsedOptions, ProviderName } from '@warmlane/contracts';
import type { CudaRuntime } from '../native/cuda-runtime.js';
import { closeAll, type ValueHandle } from '../native/handle.js';
import { HostBuffer } from '../native/host-buffer.js';
import { createMemoryInfo, valueOver } from '../native/value.js';
import type { OrtRuntime } from './ort-runtime.js';
import { nodesOff } from './placement.js';
import { createSession, type OrtSession } from './session.js';

/** A node as a session placed it. */
export interface NodePlace {
  name: string;
  /** On the wanted provider. */
  onProvider: boolean;
}

export interface PlaceNodesSpec {
  /** The model's file. */
  model: string;
  provider: ProviderName;
  options: ParsedOptions;
  /** The model's large initialisers: none of them is read. */
  weights: readonly { name: string; dtype: DType; dims: readonly number[]; bytes: number }[];
  /** The device of CUDA's provider; null for the CPU's. */
  cuda: CudaRuntime | null;
}

/**
 * Where sessions with these options put the nodes of a model, under the names of its file: from a session without
 * optimisations, which fuse and rename, that never runs. All weights are given to it as one buffer of the largest one's
 * size with whatever lies there, since no node is placed by a weight's numbers.
 */
export async function placeNodes(runtime: OrtRuntime, spec: PlaceNodesSpec): Promise<NodePlace[]> {
  const owned: { close(): void }[] = [];
  try {
    const initializers = standIns(runtime, spec, owned);
    const session = await openSession(runtime, spec, initializers);
    owned.unshift(session);
    const off = new Set(nodesOff(session.placement, spec.provider));
    return session.placement.nodes.map((node) => ({ name: node.name, onProvider: !off.has(node) }));
  } finally {
    closeAll(owned);
  }
}

function standIns(
  { api }: OrtRuntime,
  { weights, cuda }: PlaceNodesSpec,
  owned: { close(): void }[],
): Map<string, ValueHandle> {
  const largest = weights.reduce((most, { bytes }) => Math.max(most, bytes), 0);
  const buffer = cuda === null ? HostBuffer.allocate(largest) : cuda.allocate(largest);
  owned.unshift(buffer);
  const info = createMemoryInfo(api, cuda === null ? { provider: 'cpu' } : { provider: 'cuda', device: cuda.device });
  owned.unshift(info);
  const values = new Map<string, ValueHandle>();
  for (const { name, dtype, dims, bytes } of weights) {
    const value = valueOver(api, info, { address: buffer.address, bytes }, dtype, dims);
    owned.unshift(value);
    values.set(name, value);
  }
  return values;
}

function openSession(
  runtime: OrtRuntime,
  { model, provider, options, cuda }: PlaceNodesSpec,
  initializers: Map<string, ValueHandle>,
): Promise<OrtSession> {
  // A graph refuses nodes on the CPU.
  const graph: Record<string, string> = provider === 'cuda' ? { enable_cuda_graph: '0' } : {};
  const plain = { graph_optimization_level: 'ORT_DISABLE_ALL', intra_op_num_threads: '1', inter_op_num_threads: '1' };
  return createSession(runtime, {
    model: { path: model },
    provider,
    fallback: 'allow',
    device: cuda?.device,
    options: { provider: { ...options.provider, ...graph }, session: { ...options.session, ...plain }, run: {} },
    initializers,
  });
}
