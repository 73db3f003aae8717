import type { ProviderName } from '@warmlane/contracts';
import { check, type OrtApi, pointerInArray, textAt } from '../native/api.js';
import { filled, type Out, type Pointer } from '../native/handle.js';

/** A node that ONNX Runtime gave to an execution provider. */
export interface PlacedNode {
  name: string;
  /** For instance `Conv`. */
  operator: string;
  /** ONNX Runtime's name of the provider, for instance `CUDAExecutionProvider`. */
  provider: string;
}

export interface Placement {
  /** Nodes per execution provider, by ONNX Runtime's name. */
  counts: Record<string, number>;
  nodes: PlacedNode[];
}

const PROVIDER_NAMES: Record<ProviderName, string> = {
  cpu: 'CPUExecutionProvider',
  cuda: 'CUDAExecutionProvider',
};

/** The session config entry without which a session does not remember where its nodes went. */
export const RECORD_PLACEMENT = { 'session.record_ep_graph_assignment_info': '1' } as const;

/**
 * Which provider each node of a session was assigned to, after optimisation and partitioning. All pointers belong to the
 * session.
 */
export function readPlacement(api: OrtApi, session: Pointer<'Session'>): Placement {
  const subgraphs: Out<bigint> = [null];
  const count: Out<number> = [null];
  check(api, api.sessionGetEpGraphAssignmentInfo(session, subgraphs, count));
  const nodes: PlacedNode[] = [];
  for (let i = 0; i < (count[0] ?? 0); i += 1) {
    const subgraph = pointerInArray(filled(subgraphs, 'assignment info'), i);
    const provider = textOf(api, (out) => api.subgraphGetEpName(subgraph, out));
    const array: Out<bigint> = [null];
    const total: Out<number> = [null];
    check(api, api.subgraphGetNodes(subgraph, array, total));
    for (let j = 0; j < (total[0] ?? 0); j += 1) {
      const node = pointerInArray(filled(array, 'assigned nodes'), j);
      nodes.push({
        name: textOf(api, (out) => api.nodeGetName(node, out)),
        operator: textOf(api, (out) => api.nodeGetOperatorType(node, out)),
        provider,
      });
    }
  }
  const counts: Record<string, number> = {};
  for (const node of nodes) counts[node.provider] = (counts[node.provider] ?? 0) + 1;
  return { counts, nodes };
}

function textOf(api: OrtApi, read: (out: Out<bigint>) => Pointer<'Status'> | null): string {
  const out: Out<bigint> = [null];
  check(api, read(out));
  return out[0] === null ? '' : textAt(out[0]);
}

/** Nodes that sit elsewhere than on the wanted provider. */
export function nodesOff(placement: Placement, provider: ProviderName): PlacedNode[] {
  return placement.nodes.filter((node) => node.provider !== PROVIDER_NAMES[provider]);
}

/** Where a session reads an input or writes an output. */
export type Location = 'host' | 'device';

/**
 * Where each input is read and each output written. A value that is bound elsewhere is copied, an input when it is bound
 * and never again: a buffer that is bound once for many runs has to lie where the session reads it.
 */
export function readLocations(
  api: OrtApi,
  session: Pointer<'Session'>,
  counts: { inputs: number; outputs: number },
): { inputs: Location[]; outputs: Location[] } {
  const inputs = new BigUint64Array(counts.inputs);
  const outputs = new BigUint64Array(counts.outputs);
  if (counts.inputs > 0) check(api, api.sessionGetMemoryInfoForInputs(session, inputs, counts.inputs));
  if (counts.outputs > 0) check(api, api.sessionGetMemoryInfoForOutputs(session, outputs, counts.outputs));
  // `Cpu` and `CudaPinned` are the host's.
  const locate = (info: bigint): Location =>
    textOf(api, (out) => api.memoryInfoGetName(info, out)) === 'Cuda' ? 'device' : 'host';
  return { inputs: Array.from(inputs, locate), outputs: Array.from(outputs, locate) };
}
