import type { LaneDoc, LaneState, WarmupDoc, WarmupLane, WarmupState, WarmupView } from '@warmlane/contracts';

/** One lane that a warm-up asks for: a shape on one of `replicas` workers. */
export interface Slot {
  /** The same in every generation: its children are `<flow>-<n>`. */
  n: number;
  shapeKey: string;
}

/** What a slot has come to. `open`: neither ready nor failed. */
export interface SlotView extends Slot {
  outcome: 'ready' | 'failed' | 'open';
  worker: string | null;
  state: LaneState;
  reason: string;
}

/** Of what a slot's child failed for good, and where. */
export interface SlotFailure {
  worker: string;
  reason: string;
}

export interface SlotFacts {
  doc: WarmupDoc;
  replicasOf: (shapeKey: string) => number;
  /** Lanes of the model version. */
  lanes: readonly LaneDoc[];
  /** Live workers by epoch. */
  live: ReadonlyMap<string, number>;
  /** By slot. */
  failures: ReadonlyMap<number, SlotFailure>;
}

const SERVING: ReadonlySet<LaneState> = new Set(['READY', 'SUSPECT']);
/** States in which an earlier lane was left behind: of this warm-up they say nothing. */
const ENDED: ReadonlySet<LaneState> = new Set(['FAILED', 'EVICTED', 'STALE']);

/** The warm-up's slots, shapes in the request's order, the first replica of each before the second. */
export function slotsOf(doc: WarmupDoc, replicasOf: (shapeKey: string) => number): Slot[] {
  const counts = doc.shapes.map((shapeKey) => doc.replicas ?? replicasOf(shapeKey));
  const most = Math.max(1, ...counts);
  const slots: Slot[] = [];
  for (let replica = 0; replica < most; replica += 1) {
    doc.shapes.forEach((shapeKey, at) => {
      if (replica < (counts[at] ?? 1)) slots.push({ n: replica * doc.shapes.length + at, shapeKey });
    });
  }
  return slots;
}

/**
 * Compares the warm-up with the lanes there are. Ready is what serves on a live worker in its current epoch, whoever
 * warmed it; failed is what a child said; that a child completed counts for nothing.
 */
export function viewSlots(facts: SlotFacts): SlotView[] {
  const slots = slotsOf(facts.doc, facts.replicasOf);
  const views = new Map<number, SlotView>();
  for (const shapeKey of facts.doc.shapes) {
    const ofShape = slots.filter((slot) => slot.shapeKey === shapeKey);
    for (const view of viewShape(shapeKey, ofShape, facts)) views.set(view.n, view);
  }
  return slots.map((slot) => views.get(slot.n)).filter((view) => view !== undefined);
}

function viewShape(shapeKey: string, slots: readonly Slot[], facts: SlotFacts): SlotView[] {
  const lanes = facts.lanes.filter((lane) => lane.shapeKey === shapeKey);
  const assigned = facts.doc.assignments.filter((one) => one.shapeKey === shapeKey).map((one) => one.worker);
  const warm = distinctWorkers(lanes.filter((lane) => isReady(lane, facts.live)));
  const failed = new Set(slots.map((slot) => facts.failures.get(slot.n)?.worker));
  const waiting = assigned.filter((worker) => !failed.has(worker) && !warm.some((lane) => lane.worker === worker));
  // A lane that is there counts for a slot that is still open before it counts for one that failed.
  const openFirst = [...slots].sort((a, b) => Number(facts.failures.has(a.n)) - Number(facts.failures.has(b.n)));
  return openFirst.map((slot) => {
    const lane = warm.shift();
    if (lane !== undefined) return ofLane(slot, lane, 'ready');
    const failure = facts.failures.get(slot.n);
    if (failure !== undefined) return { ...slot, outcome: 'failed', state: 'FAILED', ...failure };
    return ofWorker(slot, waiting.shift() ?? null, lanes);
  });
}

function isReady(lane: LaneDoc, live: ReadonlyMap<string, number>): boolean {
  return SERVING.has(lane.state) && live.get(lane.worker) === lane.epoch;
}

function distinctWorkers(lanes: readonly LaneDoc[]): LaneDoc[] {
  return [...new Map(lanes.map((lane) => [lane.worker, lane])).values()];
}

function ofLane(slot: Slot, lane: LaneDoc, outcome: SlotView['outcome']): SlotView {
  return { ...slot, outcome, worker: lane.worker, state: lane.state, reason: lane.reason };
}

function ofWorker(slot: Slot, worker: string | null, lanes: readonly LaneDoc[]): SlotView {
  if (worker === null) return { ...slot, outcome: 'open', worker, state: 'QUEUED', reason: 'no worker' };
  const lane = lanes
    .filter((one) => one.worker === worker && !ENDED.has(one.state))
    .sort((a, b) => (a.since < b.since ? 1 : -1))[0];
  if (lane !== undefined) return ofLane(slot, lane, 'open');
  return { ...slot, outcome: 'open', worker, state: 'QUEUED', reason: `waits for worker ${worker}` };
}

/** The state of a warm-up of which nothing more is awaited. */
export function finalState(slots: readonly SlotView[]): 'ready' | 'partial' | 'failed' {
  const ready = slots.filter((slot) => slot.outcome === 'ready').length;
  return ready === slots.length ? 'ready' : ready > 0 ? 'partial' : 'failed';
}

export function isFinalState(state: WarmupState): boolean {
  return state !== 'queued' && state !== 'running';
}

export function toView(doc: WarmupDoc, slots: readonly SlotView[], state: WarmupState, reason: string): WarmupView {
  const lanes: WarmupLane[] = slots.map(({ shapeKey, worker, state: lane, reason: why }) => ({
    shapeKey,
    worker,
    state: lane,
    reason: why,
  }));
  return {
    id: doc.id,
    model: doc.model,
    version: doc.version,
    state,
    reason,
    total: slots.length,
    ready: slots.filter((slot) => slot.outcome === 'ready').length,
    failed: slots.filter((slot) => slot.outcome === 'failed').length,
    lanes,
  };
}
