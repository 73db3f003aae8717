import { elementBytes, elementCount } from '@warmlane/contracts';
import type { GraphSummary, Initializer } from './graph-reader.js';

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
