import { readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { newId, type ParsedOptions, type ProviderName } from '@warmlane/contracts';
import { type GraphSummary, type WeightRange, weightsOnDevice } from '@warmlane/lanes';
import type { NodePlace } from '@warmlane/ort';

/** Names of the weights that lanes on the device share, a JSON array: to find them takes a session. */
const CHOICE = 'on-device.json';

/**
 * CUDA's options that say how a node computes, copies or takes memory, not where it runs: lanes that differ in these
 * alone share one copy. Its provider takes nodes by operator, type and attributes; the layout changes which it has.
 */
const LEAVE_NODES = new Set([
  'arena_extend_strategy',
  'cudnn_conv1d_pad_to_nc1d',
  'cudnn_conv_algo_search',
  'cudnn_conv_use_max_workspace',
  'do_copy_in_default_stream',
  'enable_cuda_graph',
  'fuse_conv_bias',
  'gpu_mem_limit',
  'use_ep_level_unified_stream',
  'use_tf32',
]);

/** The provider options that may move nodes from one provider to another, in one order. The CPU has no other provider. */
export function placingOptions(provider: ProviderName, options: ParsedOptions): [string, string][] {
  if (provider === 'cpu') return [];
  return Object.entries(options.provider)
    .filter(([key]) => !LEAVE_NODES.has(key))
    .sort();
}

/** Those of a prepared model's weights that only nodes on the device read: as was found before in its folder, or by `place`. */
export async function chooseWeights(
  folder: string,
  { graph, ranges }: { graph: GraphSummary; ranges: readonly WeightRange[] },
  place: () => Promise<NodePlace[]>,
): Promise<WeightRange[]> {
  const file = path.join(folder, CHOICE);
  const known = await readNames(file);
  if (known !== null) return ranges.filter(({ name }) => known.has(name));
  const chosen = weightsOnDevice(graph, ranges, await place());
  const part = `${file}.part-${newId()}`;
  await writeFile(part, JSON.stringify(chosen.map(({ name }) => name)));
  await rename(part, file);
  return chosen;
}

async function readNames(file: string): Promise<ReadonlySet<unknown> | null> {
  try {
    const names: unknown = JSON.parse(await readFile(file, 'utf8'));
    return Array.isArray(names) ? new Set<unknown>(names) : null;
  } catch {
    // Not chosen yet, or cut off: chosen anew.
    return null;
  }
}
