import type { BatchAxes } from './batch-axes.js';
import type { ProviderName } from './model-config.js';
import type { Crop } from './padding.js';
import type { NamedTensor, TensorSpec } from './tensor.js';

/** Options by scope, canonical strings, as the provider-option table's parser gives them. */
export interface ParsedOptions {
  provider: Record<string, string>;
  session: Record<string, string>;
  run: Record<string, string>;
}

/** Exit codes of a runtime beside 0. */
export const RUNTIME_EXIT = {
  /** It said why it cannot run here. */
  refused: 75,
  /** It lost its CUDA context: the error was answered, and only a new process helps. */
  poisoned: 86,
} as const;

/** What the runtime found at start; sent once, before anything else. */
export interface RuntimeHello {
  pid: number;
  provider: ProviderName;
  /** `cpu`, or name and UUID. */
  device: string;
  ortVersion: string;
  /** The environment fingerprint: device and MIG profile or CPU model and quota, driver, CUDA, cuDNN, library digests. */
  environment: Record<string, string>;
  /** Bytes free and total on the device (CPU: of the machine or cgroup). */
  memory: { free: number; total: number };
}

export interface CreateLaneParams {
  lane: string;
  model: { path: string; digest: string };
  /** In order of preference; only the first that the device has is used unless fallback is `allow`. */
  providers: ProviderName[];
  fallback: 'error' | 'allow';
  options: ParsedOptions;
  /** In the model's order, concrete dims. */
  inputs: TensorSpec[];
  outputs: string[];
  /**
   * Folder where a model is prepared so that its lanes share their weights; kept from one runtime to the next. Without
   * it the lane has weights of its own.
   */
  weightsFolder?: string | undefined;
}

export interface CreateLaneResult {
  createMs: number;
  optionsParsed: Record<string, string>;
  placement: Record<string, number>;
  /** Bytes of weights that it shares with the other lanes of its model; why not, or not fully, where it says so. */
  weights: { sharedBytes: number; reason: string };
}

/** Weights that several lanes hold together: `key` tells which lanes, `bytes` count once for all of them. */
export interface HeldWeights {
  key: string;
  bytes: number;
}

export interface LaneRun {
  outputs: NamedTensor[];
  /** Bytes into and out of the bound buffers, ms. */
  copyMs: number;
  computeMs: number;
}

/** One request, or some places of its batch axis, in a run that it shares with others. */
export interface LaneItem {
  /** In the lane's dtypes; smaller than the lane's shape on padded axes and on the batch axis. */
  inputs: NamedTensor[];
  /** Sizes to which its outputs are cropped. */
  crops: Crop[];
}

export interface LaneItemsParams {
  lane: string;
  items: LaneItem[];
  /** null: the lane has no batch axis and takes one item. */
  axes: BatchAxes | null;
  /** Bytes of one element with which an input is padded; absent: nothing of it is. */
  fill: Record<string, number[]>;
  outputs: string[] | null;
  poison: boolean;
  /** Large outputs may come back in slots of the runtime's, which their reader frees. */
  slots?: boolean;
}

export interface LaneItemsRun {
  /** By item, in order. */
  items: NamedTensor[][];
  /** As in {@link LaneRun}. */
  copyMs: number;
  computeMs: number;
}

export interface PlainRunParams {
  /** Sessions are kept by this key and what they are made with: model, providers, options. A release closes all of a key. */
  session: string;
  model: { path: string; digest: string };
  providers: ProviderName[];
  options: ParsedOptions;
  inputs: NamedTensor[];
  outputs: string[];
  /** As in {@link LaneItemsParams}. */
  slots?: boolean;
}

/**
 * Worker -> runtime calls. Every failure is a WarmlaneError body; a native failure has code `internal` and the message
 * of ONNX Runtime, `device-busy` where memory was refused for a neighbour's sake. A tensor of `lane.run`, `lane.items` and
 * `plain.run` may have a `slot` (a SlotRef of shared memory) in place of its `data`.
 */
export interface RuntimeMethods {
  /** Creates the session and its buffers on a pool thread. */
  'lane.create': { params: CreateLaneParams; result: CreateLaneResult };
  /** The slow first run, on a pool thread. */
  'lane.first': {
    params: { lane: string; inputs: NamedTensor[] };
    result: { firstMs: number; outputs: TensorSpec[]; dataDependent: boolean };
  };
  /** Captures on the serving thread; without a graph (CPU, refused) says why. */
  'lane.capture': { params: { lane: string }; result: { captureMs: number | null; graph: string } };
  /** `runs` timed runs or as many as budgetMs holds (at least 10), interleaved with served requests; ms each. */
  'lane.measure': {
    params: { lane: string; inputs: NamedTensor[]; runs: number; budgetMs: number };
    result: { runsMs: number[] };
  };
  /** One run. `poison` overwrites the output buffers before it. */
  'lane.run': {
    params: { lane: string; inputs: NamedTensor[]; outputs: string[] | null; poison: boolean; slots?: boolean };
    result: LaneRun;
  };
  /**
   * One run of items that are written side by side into the bound buffers, padded there, and whose outputs are cut out of
   * them. Places of the batch axis that no item takes repeat the first item.
   */
  'lane.items': { params: LaneItemsParams; result: LaneItemsRun };
  'lane.release': { params: { lane: string }; result: Record<string, never> };
  /** Bytes held by the lane's session and buffers alone, and the weights that it shares; null for none. */
  'lane.memory': { params: { lane: string }; result: { bytes: number; weights: HeldWeights | null } };
  /** A run on a plain session that takes any shape: throw-away shapes of the revisit, CUDA fallback. On a pool thread. */
  'plain.run': { params: PlainRunParams; result: LaneRun };
  'plain.release': { params: { session: string }; result: Record<string, never> };
  memory: { params: Record<string, never>; result: { free: number; total: number; rss: number } };
  close: { params: Record<string, never>; result: Record<string, never> };
}
