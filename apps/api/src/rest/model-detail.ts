import type { LaneDoc, ModelDoc, PlanEntry } from '@warmlane/contracts';

/** One version as `GET /v1/models` lists it. */
function versionView(doc: ModelDoc, plan: readonly PlanEntry[], lanes: readonly LaneDoc[]) {
  const counts: Record<string, number> = {};
  for (const lane of lanes) counts[lane.state] = (counts[lane.state] ?? 0) + 1;
  return {
    version: doc.version,
    state: doc.state,
    reason: doc.reason,
    digest: doc.digest,
    wasReady: doc.wasReady,
    retired: doc.retired,
    plan: {
      shapes: plan.map((entry) => entry.shapeKey),
      required: plan.filter((entry) => entry.required).length,
      held: plan.filter((entry) => entry.held.length > 0).map((entry) => entry.shapeKey),
    },
    lanes: counts,
  };
}

/** One version with everything known of it. */
export function versionDetail(doc: ModelDoc, plan: readonly PlanEntry[], lanes: readonly LaneDoc[]) {
  return {
    name: doc.name,
    ...versionView(doc, plan, lanes),
    inputs: doc.metadata?.inputs ?? [],
    outputs: doc.metadata?.outputs ?? [],
    options: doc.config.options,
    config: doc.config,
    entries: plan,
    registeredAt: doc.registeredAt,
  };
}

/** Versions by model, in the order of the list. */
export function modelsView(
  docs: readonly ModelDoc[],
  plans: ReadonlyMap<string, readonly PlanEntry[]>,
  lanes: readonly LaneDoc[],
) {
  const names = [...new Set(docs.map((doc) => doc.name))];
  return names.map((name) => ({
    name,
    versions: docs
      .filter((doc) => doc.name === name)
      .map((doc) =>
        versionView(
          doc,
          plans.get(`${name}/${doc.version}`) ?? [],
          lanes.filter((lane) => lane.model === name && lane.version === doc.version),
        ),
      ),
  }));
}
