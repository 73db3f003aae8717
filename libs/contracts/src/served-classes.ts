import { type BatchAxes, batchAxesOf, batchClassOf, rowsOf } from './batch-axes.js';
import type { ModelDoc } from './documents.js';
import { WarmlaneError } from './errors.js';
import type { ModelConfig } from './model-config.js';
import type { ModelMetadata } from './model-metadata.js';
import { type PadPlan, paddedShapes, padPlanOf } from './padding.js';
import { parseShapeKey, printShapeKey } from './shape-key.js';
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

/** The classes to whose shapes the request may be padded, the smallest first. */
export function paddedClasses(rules: ServingRules, inputs: readonly TensorSpec[]): ServedClass[] {
  const { batch, pad, metadata } = rules;
  if (pad === null) return [];
  const batched = batch !== null && rowsOf(batch, inputs) !== null;
  return paddedShapes(pad, metadata, inputs).flatMap((shape) => {
    const exact = { shapeClass: printShapeKey(shape), padded: true };
    return batched ? [{ shapeClass: batchClassOf(batch, shape), padded: true }, exact] : [exact];
  });
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
