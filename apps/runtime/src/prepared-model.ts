import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { newId, type ParsedOptions, type ProviderName, WarmlaneError } from '@warmlane/contracts';
import {
  type GraphSummary,
  packedBytes,
  readGraph,
  sharedWeights,
  type WeightRange,
  weightBytes,
  whyNotNeutral,
} from '@warmlane/lanes';
import {
  type NodePlace,
  OPTIMIZED_MODEL,
  type OrtRuntime,
  type WeightSource,
  writeOptimizedModel,
} from '@warmlane/ort';
import { chooseWeights, placingOptions } from './weight-choice.js';

/** What models are prepared with. */
export interface PrepareContext {
  runtime: OrtRuntime;
  /** Names the libraries of ONNX Runtime: other ones may optimise otherwise and have other kernels. */
  libraries: string;
  /** Where sessions of a model with these weights put its nodes. */
  place(
    model: string,
    weights: readonly WeightSource[],
    request: Pick<PrepareRequest, 'provider' | 'options'>,
  ): Promise<NodePlace[]>;
}

export interface PrepareRequest {
  model: { path: string; digest: string };
  provider: ProviderName;
  options: ParsedOptions;
  /** Where prepared models are kept. */
  folder: string;
}

/** A model whose lanes can share their weights. */
export interface PreparedModel {
  /** What sessions are made from. */
  path: string;
  sources: WeightSource[];
  /** Bytes of the weights, and of what the CPU's kernels keep of them besides. */
  bytes: { weights: number; packed: number };
  /** Why sessions read the weights all the same; empty where they do not. */
  reason: string;
  /** Where it was prepared. */
  folder: string;
}

/** Has a prepared model made anew the next time: its files are not what they were. */
export async function discard({ folder }: PreparedModel): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

/** Why a model's lanes cannot share, as an answer. */
export class CannotShare extends Error {}

/** Written last: a folder without it is not whole. It says why the model was left as it is, or nothing. */
const DONE = 'reason.txt';
/** A prepared model that nobody used for so long is removed. */
const KEEP_MS = 30 * 24 * 3_600_000;

/**
 * Below so many bytes sharing gains nothing that can be seen: on a GPU an arena grows by 1 MiB, on the CPU the pages of
 * a small model are noise.
 */
const MIB = 2 ** 20;
const LEAST_TOTAL: Record<ProviderName, number> = { cpu: 32 * MIB, cuda: MIB };

/**
 * Optimises a model once for all its shapes, weights in a file of their own, and says which weights its lanes share.
 * A model that cannot be optimised for all shapes at once stays as it is: then its sessions read it each time, and only
 * the memory is shared. Throws {@link CannotShare}.
 */
export async function prepareModel(context: PrepareContext, request: PrepareRequest): Promise<PreparedModel> {
  const { model, provider, options } = request;
  // The layout pass turns initialisers over under their old names: they would not be what was read.
  if (options.provider.prefer_nhwc === '1') throw new CannotShare('prefer_nhwc=1 lays weights out anew');
  const original = await graphOf(model.path);
  if (original.nodes.some((node) => node.subgraphs)) throw new CannotShare('the model has control flow');
  const least = LEAST_TOTAL[provider];
  const small = new CannotShare(`the model has less than ${least / MIB} MiB of weights`);
  // Some exporters write weights as Constant nodes: they are initialisers only once the model was loaded.
  const { size } = await stat(model.path);
  if (Math.max(size, weightBytes(sharedWeights(original))) < least) throw small;
  const target = path.join(request.folder, keyOf(context, request));
  if (!existsSync(path.join(target, DONE))) await write(context.runtime, request, original, target);
  const now = new Date();
  await utimes(path.join(target, DONE), now, now).catch(() => undefined);
  const problem = await readFile(path.join(target, DONE), 'utf8');
  const used = problem === '' ? path.join(target, OPTIMIZED_MODEL) : model.path;
  const graph = problem === '' ? await graphOf(used) : original;
  const all = sharedWeights(graph);
  if (weightBytes(all) < least) throw problem === '' ? small : new CannotShare(problem);
  const sources = (ranges: WeightRange[]) => ranges.map((range) => sourceOf(used, range));
  const place = () => context.place(used, sources(all), { provider, options });
  // All nodes of a session on the CPU are there.
  const ranges = provider === 'cpu' ? all : await chooseWeights(target, { graph, ranges: all }, place);
  const stay = whatStays(all, ranges);
  if (weightBytes(ranges) < least) throw new CannotShare(stay);
  const reasons = [problem, stay].filter((reason) => reason !== '');
  return {
    path: used,
    sources: sources(ranges),
    bytes: { weights: weightBytes(ranges), packed: provider === 'cpu' ? packedBytes(graph, ranges) : 0 },
    folder: target,
    reason: reasons.length === 0 ? '' : `read with every session: ${reasons.join('; ')}`,
  };
}

/** Says which weights are not shared; empty where all are. */
function whatStays(all: readonly WeightRange[], shared: readonly WeightRange[]): string {
  const count = all.length - shared.length;
  if (count === 0) return '';
  const bytes = weightBytes(all) - weightBytes(shared);
  return `${count} of ${all.length} weights (${bytes} bytes) stay in the model: nodes on the CPU (or without a name) read them`;
}

/** Names what a prepared model depends on: it is good for no other. */
export function keyOf(
  { libraries }: Pick<PrepareContext, 'libraries'>,
  { model, provider, options }: Omit<PrepareRequest, 'folder'>,
): string {
  const session = Object.entries(neutralOptions({ provider, options }).session).sort();
  const text = JSON.stringify([libraries, model.digest, provider, session, placingOptions(provider, options)]);
  return createHash('sha256').update(text).digest('hex').slice(0, 48);
}

const LEVELS = ['ORT_DISABLE_ALL', 'ORT_ENABLE_BASIC'];

/**
 * The session options of the model's lanes, one thread. For CUDA at most the basic level, which is the same for every
 * provider: what is above it is made for one, and each lane's own session does it.
 */
function neutralOptions({ provider, options }: Pick<PrepareRequest, 'provider' | 'options'>): ParsedOptions {
  const level = options.session.graph_optimization_level;
  const session: Record<string, string> = { ...options.session, intra_op_num_threads: '1', inter_op_num_threads: '1' };
  if (provider === 'cuda')
    session.graph_optimization_level = LEVELS.find((known) => known === level) ?? LEVELS[1] ?? '';
  return { provider: {}, session, run: {} };
}

async function write(
  runtime: OrtRuntime,
  request: PrepareRequest,
  original: GraphSummary,
  target: string,
): Promise<void> {
  await mkdir(request.folder, { recursive: true });
  await removeUnused(request.folder);
  const part = `${target}.part-${newId()}`;
  await mkdir(part);
  try {
    const reason = await optimise(runtime, request, original, part);
    if (reason !== '') {
      await rm(part, { recursive: true });
      await mkdir(part);
    }
    await writeFile(path.join(part, DONE), reason);
    await rename(part, target).catch((thrown: unknown) => {
      // Another process was as quick: its folder is as good as this one.
      if (!existsSync(path.join(target, DONE))) throw thrown;
    });
  } finally {
    await rm(part, { recursive: true, force: true });
  }
}

/** @returns why what came out cannot be used; empty where it can */
async function optimise(
  runtime: OrtRuntime,
  request: PrepareRequest,
  original: GraphSummary,
  folder: string,
): Promise<string> {
  try {
    await writeOptimizedModel(runtime, { model: request.model.path, folder, options: neutralOptions(request) });
  } catch (thrown) {
    const { message } = WarmlaneError.from(thrown);
    return `it cannot be optimised for all shapes at once (${message})`;
  }
  const problem = whyNotNeutral(original, await graphOf(path.join(folder, OPTIMIZED_MODEL)));
  return problem === null ? '' : `optimised for all shapes at once ${problem}`;
}

async function removeUnused(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const entry = path.join(folder, name);
    const used = await stat(path.join(entry, DONE)).catch(() => stat(entry));
    if (Date.now() - used.mtimeMs > KEEP_MS) await rm(entry, { recursive: true, force: true });
  }
}

async function graphOf(file: string): Promise<GraphSummary> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    return await readGraph({
      size,
      read: async (buffer, position) => (await handle.read(buffer, 0, buffer.byteLength, position)).bytesRead,
    });
  } finally {
    await handle.close();
  }
}

function sourceOf(model: string, { location, ...range }: WeightRange): WeightSource {
  const folder = path.dirname(path.resolve(model));
  const file = location === null ? path.resolve(model) : path.resolve(folder, location);
  if (!file.startsWith(`${folder}${path.sep}`)) throw new CannotShare(`'${location}' lies outside of its folder`);
  return { ...range, file };
}
