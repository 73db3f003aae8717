import { type BatchAxes, batchAxesOf, batchClassOf, rowsOf } from './batch-axes.js';
import type { ModelDoc } from './documents.js';
import { WarmlaneError } from './errors.js';
import type { ModelConfig } from './model-config.js';
import type { ModelMetadata } from './model-metadata.js';
import { canBePadded, type PadPlan, padPlanOf } from './padding.js';
import { type ClassInput, parseShapeKey } from './shape-key.js';
import type { TensorSpec } from './tensor.js';

/** What a model's configuration allows beside the exact shape. */
export interface ServingRules {
  readonly metadata: ModelMetadata;
  readonly batch: BatchAxes | null;
  readonly pad: PadPlan | null;
}

/** Throws `bad-request` as {@link batchAxesOf} and {@link padPlanOf}. */
export function servingRulesOf(metadata: ModelMetadata, config: Pick<ModelConfig, 'batch' | 'pad'>): ServingRules {
  const batch = batchAxesOf(metadata, config);
  return { metadata, batch, pad: padPlanOf(metadata, config, batch) };
}

/** A class that may serve a request. */
export interface ServedClass {
  shapeClass: string;
  /** The request's inputs are padded to the class's shape. */
  padded: boolean;
}

/** Items of a request; 1 where the model has no batch axis. */
export function itemsOf({ batch }: ServingRules, inputs: readonly TensorSpec[]): number {
  return batch === null ? 1 : (rowsOf(batch, inputs) ?? 1);
}

/** The classes of the request's own shape, the best first: any batch size, then exactly its own. */
export function exactClasses({ batch }: ServingRules, key: string, inputs: readonly TensorSpec[]): ServedClass[] {
  const exact = { shapeClass: key, padded: false };
  if (batch === null || rowsOf(batch, inputs) === null) return [exact];
  return [{ shapeClass: batchClassOf(batch, inputs), padded: false }, exact];
}

/** A class for whose shape padding is proven. */
export interface PadTarget {
  shapeClass: string;
  inputs: readonly ClassInput[];
}

/** Of the given classes those to whose shapes the request may be padded, the smallest first; of one shape any batch first. */
export function paddedClasses(
  { batch, pad }: ServingRules,
  inputs: readonly TensorSpec[],
  proven: readonly PadTarget[],
): ServedClass[] {
  if (pad === null) return [];
  const rows = batch === null ? null : rowsOf(batch, inputs);
  return proven
    .flatMap(({ shapeClass, inputs: dims }) => {
      const shape = shapeWith(dims, batch, rows);
      const batched = dims.some((one) => one.dims.includes('b'));
      return shape !== null && canBePadded(pad, inputs, shape)
        ? [{ shapeClass, batched, size: elementsOf(shape) }]
        : [];
    })
    .sort((a, b) => a.size - b.size || Number(b.batched) - Number(a.batched))
    .map(({ shapeClass }) => ({ shapeClass, padded: true }));
}

/** The shape that a class has for so many items; null where it has another batch axis, or needs one and there is none. */
function shapeWith(dims: readonly ClassInput[], batch: BatchAxes | null, rows: number | null): TensorSpec[] | null {
  const shape: TensorSpec[] = [];
  for (const one of dims) {
    const axis = one.dims.indexOf('b');
    if (axis >= 0 && (rows === null || batch?.inputs[one.name] !== axis)) return null;
    shape.push({ ...one, dims: one.dims.map((dim) => (dim === 'b' ? (rows ?? 0) : dim)) });
  }
  return shape;
}

function elementsOf(shape: readonly TensorSpec[]): number {
  return shape.reduce((sum, { dims }) => sum + dims.reduce((product, dim) => product * dim, 1), 0);
}

/** What of a registered version decides where its lanes are placed. */
export type PlacedModel = Pick<ModelDoc, 'metadata' | 'config'>;

/**
 * What a lane is placed by: the class of all batch sizes of its shape as the registered configuration declares them,
 * whether or not a batch is proven yet; its own shape key where there is no batch. The same for every worker and API, as
 * all read the same document.
 */
export function placementClassOf({ metadata, config }: PlacedModel, shapeKey: string): string {
  if (metadata === null || config.batch === undefined) return shapeKey;
  try {
    const batch = batchAxesOf(metadata, config);
    const inputs = parseShapeKey(shapeKey);
    return batch === null || rowsOf(batch, inputs) === null ? shapeKey : batchClassOf(batch, inputs);
  } catch (thrown) {
    // A configuration that its model does not fit has lanes of single shapes at most.
    if (thrown instanceof WarmlaneError) return shapeKey;
    throw thrown;
  }
}
