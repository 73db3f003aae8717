import {
  type BatchAxes,
  batchAxesOf,
  checkShapeKey,
  DEFAULT_PRIORITY,
  type ModelConfig,
  type ModelDoc,
  type ModelMetadata,
  type PlacedModel,
  type PlanEntry,
  placementClassOf,
  printShapeKey,
  type TensorSpec,
  WarmlaneError,
  withRows,
} from '@warmlane/contracts';
import { placeLane } from './placement.js';

/** One shape as a yaml declares it. */
export interface DeclaredLane {
  shapeKey: string;
  replicas: number;
  /** 0 first. */
  priority: number;
  required: boolean;
}

/**
 * The declared part of a version's plan; with a batch, each shape in every size of it. Throws `bad-request` that names the
 * shape where one disagrees with the model's metadata, and for a shape that stands twice.
 */
export function declaredPlan(metadata: ModelMetadata, config: ModelConfig): DeclaredLane[] {
  const batch = batchAxesOf(metadata, config);
  const seen = new Set<string>();
  const planned = new Set<string>();
  for (const text of config.shapes) {
    let key: string;
    let inputs: TensorSpec[];
    try {
      ({ key, inputs } = checkShapeKey(metadata, text));
    } catch (thrown) {
      const error = WarmlaneError.from(thrown);
      throw new WarmlaneError('bad-request', `shapes: '${text}': ${error.message}`, error.hint);
    }
    if (seen.has(key)) {
      throw new WarmlaneError('bad-request', `shapes: '${text}' stands there twice`, 'Take one of them out.');
    }
    seen.add(key);
    // Shapes that differ in their batch alone expand to the same lanes.
    for (const one of expanded(batch, config, inputs)) planned.add(one);
  }
  const { replicas, required } = config;
  return [...planned].map((shapeKey) => ({ shapeKey, replicas, priority: DEFAULT_PRIORITY, required }));
}

function expanded(batch: BatchAxes | null, config: ModelConfig, inputs: readonly TensorSpec[]): string[] {
  if (batch === null || config.batch === undefined) return [printShapeKey(inputs)];
  return [...config.batch.sizes].sort((a, b) => a - b).map((size) => printShapeKey(withRows(batch, inputs, size)));
}

/** What of a plan is in force: of a version that was taken over only what a warm-up names. */
export function planInForce(model: Pick<ModelDoc, 'state' | 'retired'>, entries: readonly PlanEntry[]): PlanEntry[] {
  if (model.state !== 'LOADED') return [];
  return model.retired ? entries.filter((entry) => entry.warmups.length > 0) : [...entries];
}

/** One lane that a worker should hold. */
export interface WantedLane {
  model: string;
  version: string;
  entry: PlanEntry;
}

/** A model version with its plan and the workers that can hold its lanes. */
export interface PlannedModel {
  doc: PlacedModel & Pick<ModelDoc, 'name' | 'version'>;
  entries: readonly PlanEntry[];
  workers: readonly string[];
}

/** The workers on which a shape of a version is to be warm. */
export function placeShape(
  { name, version, ...doc }: PlannedModel['doc'],
  { shapeKey, replicas }: Pick<PlanEntry, 'shapeKey' | 'replicas'>,
  workers: Iterable<string>,
): string[] {
  return placeLane({ model: name, version, shapeClass: placementClassOf(doc, shapeKey) }, replicas, workers);
}

/** The lanes that this worker should hold: it ranks below `replicas` and the lane is not held back here. */
export function wantedLanes(worker: string, models: readonly PlannedModel[]): WantedLane[] {
  return models.flatMap(({ doc, entries, workers }) =>
    entries
      .filter((entry) => !entry.held.includes(worker))
      .filter((entry) => placeShape(doc, entry, workers).includes(worker))
      .map((entry) => ({ model: doc.name, version: doc.version, entry })),
  );
}

/** Order of warming: what served most before the last restart, then priority, then age. `traffic`: runs by shape key. */
export function warmingOrder(
  a: { shapeKey: string; priority: number; addedAt: string; traffic: number },
  b: { shapeKey: string; priority: number; addedAt: string; traffic: number },
): number {
  if (a.traffic !== b.traffic) return b.traffic - a.traffic;
  if (a.priority !== b.priority) return a.priority - b.priority;
  if (a.addedAt !== b.addedAt) return a.addedAt < b.addedAt ? -1 : 1;
  return a.shapeKey < b.shapeKey ? -1 : a.shapeKey > b.shapeKey ? 1 : 0;
}

/** True once every required shape is READY or SUSPECT on a live worker. A plan without required shapes is. */
export function requiredReady(entries: readonly PlanEntry[], servingShapes: ReadonlySet<string>): boolean {
  return entries.every((entry) => !entry.required || !entry.declared || servingShapes.has(entry.shapeKey));
}
