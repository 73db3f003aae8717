import type { LaneDoc, ModelDoc, PlanEntry, WorkerDoc } from '@warmlane/contracts';

/** What readiness is judged by, read from Redis at one moment. */
export interface FleetSnapshot {
  models: readonly ModelDoc[];
  /** Plan of each version, by `name/version`. */
  plans: ReadonlyMap<string, readonly PlanEntry[]>;
  lanes: readonly LaneDoc[];
  workers: readonly WorkerDoc[];
  /** Live workers and their epochs. */
  live: ReadonlyMap<string, number>;
}

const versionId = (doc: { name: string; version: string }): string => `${doc.name}/${doc.version}`;

/** True for a lane that serves: READY, or SUSPECT while it is checked again, on a live worker in its epoch. */
function isWarm(lane: LaneDoc, live: ReadonlyMap<string, number>): boolean {
  return (lane.state === 'READY' || lane.state === 'SUSPECT') && live.get(lane.worker) === lane.epoch;
}

/** Workers that can answer: live, started, not leaving. One whose device is lost still serves on its fallback. */
export function answeringWorkers(fleet: FleetSnapshot): WorkerDoc[] {
  const answering = new Set<WorkerDoc['state']>(['serving', 'degraded', 'device-unhealthy']);
  return fleet.workers.filter((worker) => fleet.live.has(worker.id) && answering.has(worker.state));
}

/** Why a version's required plan is not warm now: one line per shape; empty where it is. */
function coldShapes(doc: ModelDoc, fleet: FleetSnapshot): string[] {
  const lanes = fleet.lanes.filter((lane) => lane.model === doc.name && lane.version === doc.version);
  const required = (fleet.plans.get(versionId(doc)) ?? []).filter((entry) => entry.required);
  return required
    .filter((entry) => !lanes.some((lane) => lane.shapeKey === entry.shapeKey && isWarm(lane, fleet.live)))
    .map((entry) => `${versionId(doc)} ${entry.shapeKey}: ${whyCold(entry, lanes)}`);
}

function whyCold(entry: PlanEntry, lanes: readonly LaneDoc[]): string {
  const own = lanes.filter((lane) => lane.shapeKey === entry.shapeKey);
  const telling = own.find((lane) => lane.state === 'FAILED') ?? own.find((lane) => lane.state !== 'EVICTED') ?? own[0];
  if (telling === undefined) return entry.held.length > 0 ? 'held back by an eviction' : 'no lane yet';
  return telling.reason === '' ? telling.state : `${telling.state}: ${telling.reason}`;
}

/** Why a version does not count as ready; empty where it does. */
export function versionProblems(doc: ModelDoc, fleet: FleetSnapshot): string[] {
  if (doc.state !== 'LOADED') return [`${versionId(doc)} is ${doc.state}${doc.reason === '' ? '' : `: ${doc.reason}`}`];
  const holder = answeringWorkers(fleet).some((worker) => worker.models.includes(versionId(doc)));
  if (!holder) return [`${versionId(doc)}: no live worker holds it`];
  return coldShapes(doc, fleet);
}

/**
 * Why the fleet never was ready yet; empty where every model has a version whose required plan was READY once (or is
 * now). A failed version that requires nothing holds nobody up.
 */
export function startProblems(fleet: FleetSnapshot): string[] {
  if (answeringWorkers(fleet).length === 0) return ['no worker serves yet'];
  const names = new Set(fleet.models.map((doc) => doc.name));
  return [...names].flatMap((name) =>
    nameProblems(
      fleet.models.filter((doc) => doc.name === name),
      fleet,
    ),
  );
}

function nameProblems(versions: readonly ModelDoc[], fleet: FleetSnapshot): string[] {
  const counted = versions.filter((doc) => doc.state !== 'UNLOADED' && !doc.retired && !failedForNobody(doc));
  if (counted.some((doc) => doc.wasReady)) return [];
  const problems = counted.map((doc) =>
    doc.state === 'LOADED'
      ? coldShapes(doc, fleet)
      : [`${versionId(doc)} is ${doc.state}${doc.reason === '' ? '' : `: ${doc.reason}`}`],
  );
  return problems.some((lines) => lines.length === 0) ? [] : problems.flat();
}

function failedForNobody(doc: ModelDoc): boolean {
  return doc.state === 'FAILED' && !(doc.config.required && doc.config.shapes.length > 0);
}
