import type { ModelMetadata, ProviderName } from '@warmlane/contracts';
import type { GraphSummary } from '../onnx/graph-reader.js';
import type { TuningTraits } from './candidates.js';

/** Operators whose kernels are cuDNN's convolutions, ONNX Runtime's own fusions included. */
const CONVOLUTIONS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'FusedConv', 'NhwcFusedConv']);
/** Output and input channels, and one axis. */
const CONV1D_RANK = 3;

/**
 * What of a model decides which options are worth a trial. A graph within a node (If, Loop, Scan) is not looked into: it
 * may hold convolutions, so it counts as if.
 * @param graph null where it could not be read: every option is tried then
 */
export function tuningTraits(
  device: { provider: ProviderName; cpus: number },
  metadata: ModelMetadata,
  graph: Pick<GraphSummary, 'nodes' | 'initializers'> | null,
): TuningTraits {
  const float32 = [...metadata.inputs, ...metadata.outputs].some((info) => info.dtype === 'float32');
  if (graph === null || graph.nodes.some((node) => node.subgraphs)) {
    return { ...device, conv: true, conv1d: true, float32 };
  }
  const ranks = new Map(graph.initializers.map(({ name, dims }) => [name, dims.length]));
  const convolutions = graph.nodes.filter((node) => CONVOLUTIONS.has(node.operator));
  const conv1d = convolutions.some(({ inputs }) => ranks.get(inputs[1] ?? '') === CONV1D_RANK);
  return { ...device, conv: convolutions.length > 0, conv1d, float32 };
}
