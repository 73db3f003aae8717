import { elementBytes, elementCount } from '@warmlane/contracts';
import type { GraphNode, GraphSummary, Initializer } from './graph-reader.js';

/** Smaller ones are shape constants and scalars: they stay with each session. */
const LEAST_BYTES = 1024;

/** An initialiser that the lanes of a model can share, with where its bytes lie. */
export interface WeightRange {
  name: string;
  dtype: 'float32' | 'float16';
  dims: number[];
  location: string | null;
  offset: number;
  bytes: number;
}

/**
 * The initialisers that a model's lanes can share: floats of 1 KiB and more. Integers are shapes, axes and tables that
 * belong to the host, and ONNX Runtime folds them away when the shape of a lane is fixed.
 */
export function sharedWeights(graph: GraphSummary): WeightRange[] {
  return graph.initializers.flatMap((initializer) => rangeOf(initializer) ?? []);
}

function rangeOf({ name, dtype, dims, data }: Initializer): WeightRange | null {
  if (data === null || data.bytes < LEAST_BYTES) return null;
  if (dtype !== 'float32' && dtype !== 'float16') return null;
  if (elementCount(dims, `initialiser '${name}'`) * (elementBytes(dtype) ?? 0) !== data.bytes) return null;
  return { name, dtype, dims, ...data };
}

/**
 * Those of the weights that are read on the device only: every node that reads one runs there. ONNX Runtime takes a value
 * in device memory for no other; it reads the model's own without a word, and the device would hold it for nothing.
 *
 * Nodes are known by name. One without a name, or whose name the session does not know or has on the host too, counts as
 * on the host, unless the session has no node there, and no fewer nodes than the model: then names do not matter.
 */
export function weightsOnDevice(
  graph: GraphSummary,
  ranges: readonly WeightRange[],
  placed: readonly { name: string; onProvider: boolean }[],
): WeightRange[] {
  // Constants have no inputs, and are no nodes of a session.
  const readers = graph.nodes.filter((node) => node.inputs.length > 0);
  const elsewhere = placed.filter((node) => !node.onProvider);
  if (elsewhere.length === 0 && placed.length >= readers.length) return [...ranges];
  const host = new Set(['', ...elsewhere.map((node) => node.name)]);
  const known = countNames(placed);
  const wanted = countNames(readers);
  const onDevice = ({ name }: GraphNode) => !host.has(name) && (known.get(name) ?? 0) >= (wanted.get(name) ?? 0);
  const [device, other] = [new Set<string>(), new Set<string>()];
  for (const node of readers) for (const input of node.inputs) (onDevice(node) ? device : other).add(input);
  return ranges.filter(({ name }) => device.has(name) && !other.has(name));
}

function countNames(nodes: readonly { name: string }[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { name } of nodes) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/** Bytes of all. */
export function weightBytes(ranges: readonly WeightRange[]): number {
  return ranges.reduce((sum, range) => sum + range.bytes, 0);
}

/** Kernels of ONNX Runtime's CPU provider that keep a layout of their own of a weight. */
const PACKING = new Set([
  'MatMul',
  'Gemm',
  'FusedMatMul',
  'FusedGemm',
  'Conv',
  'FusedConv',
  'ConvTranspose',
  'Attention',
]);
/** Blocked convolutions: their weights lie in the model as the kernel wants them. */
const BLOCKED_DOMAIN = 'com.microsoft.nchwc';

/** Bytes that the CPU provider's kernels keep of shared weights in a layout of their own, once for all lanes: at most. */
export function packedBytes(graph: GraphSummary, ranges: readonly WeightRange[]): number {
  const packing = graph.nodes.filter((node) => PACKING.has(node.operator) && node.domain !== BLOCKED_DOMAIN);
  const packed = new Set(packing.flatMap((node) => node.inputs));
  return weightBytes(ranges.filter((range) => packed.has(range.name)));
}

/**
 * Why a model that ONNX Runtime optimised for all shapes at once must not stand in for the original; null if it may.
 * Copies between devices and casts belong to the provider that it was optimised for.
 */
export function whyNotNeutral(original: GraphSummary, optimised: GraphSummary): string | null {
  const count = (graph: GraphSummary, operator: string) =>
    graph.nodes.filter((node) => node.operator === operator).length;
  if (count(optimised, 'Cast') > count(original, 'Cast')) return 'it holds casts that the model does not have';
  if (optimised.nodes.some((node) => node.operator.startsWith('Memcpy'))) return 'it holds copies between devices';
  return null;
}
