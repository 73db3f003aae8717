import { createHash } from 'node:crypto';

/** What a lane is placed by: all batch sizes of a shape go together, so that a worker has the whole of a cover. */
export interface PlacementKey {
  model: string;
  version: string;
  /** As `placementClassOf` gives it. */
  shapeClass: string;
}

function score(worker: string, key: PlacementKey): bigint {
  // NUL cannot occur in any part, so no two different tuples hash the same text.
  return createHash('sha256')
    .update([worker, key.model, key.version, key.shapeClass].join('\0'))
    .digest()
    .readBigUInt64BE();
}

/**
 * Workers in rendezvous order for a shape class, first choice first. Every worker computes the same order from the same set;
 * one that joins or leaves moves only the classes it gains or held.
 */
export function rankWorkers(key: PlacementKey, workers: Iterable<string>): string[] {
  return [...new Set(workers)]
    .map((worker) => ({ worker, score: score(worker, key) }))
    .sort((a, b) => (a.score === b.score ? (a.worker < b.worker ? -1 : 1) : a.score > b.score ? -1 : 1))
    .map(({ worker }) => worker);
}

/** The workers on which a lane is to be warm: the first `replicas` of {@link rankWorkers}. */
export function placeLane(key: PlacementKey, replicas: number, workers: Iterable<string>): string[] {
  return rankWorkers(key, workers).slice(0, replicas);
}
