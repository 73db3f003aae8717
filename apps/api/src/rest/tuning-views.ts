import type { TuningDoc, TuningView } from '@warmlane/contracts';

/**
 * Tunings for people, in the order of model, version and shape. Of one shape in one environment the latest: an older one
 * was made under other settings.
 */
export function latestTunings(docs: readonly TuningDoc[]): TuningView[] {
  const latest = new Map<string, TuningDoc>();
  for (const doc of docs) {
    const key = JSON.stringify([doc.model, doc.version, doc.shapeKey, doc.environment]);
    const before = latest.get(key);
    if (before === undefined || before.updatedAt < doc.updatedAt) latest.set(key, doc);
  }
  return [...latest]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { modelDigest: _digest, basis: _basis, ...view }]) => view);
}
