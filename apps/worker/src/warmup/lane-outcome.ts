import type { LaneState, LaneTrigger } from '@warmlane/contracts';
import { isServing, isSettled } from '@warmlane/lanes';

/** Of a lane what a `warm-lane` job is judged by. */
export interface JudgedLane {
  readonly state: LaneState;
  readonly trigger: LaneTrigger;
  readonly reason: string;
  /** Warm-ups that this lane was warmed, or tried again, for. */
  readonly triedFor: ReadonlySet<string>;
}

/**
 * What the lane at a job's place means for the job. `plan`: it says nothing of this warm-up, the plan has to be asked
 * whether one will come. `wait`: it is under way.
 */
export type LaneOutcome = { kind: 'ready' | 'wait' | 'plan' } | { kind: 'failed'; reason: string };

export function laneOutcome(lane: JudgedLane | null, warmup: string): LaneOutcome {
  if (lane?.triedFor.has(warmup) !== true) return { kind: 'plan' };
  // Dismissed for the plan's sake, as when a worker that joined ranks first for the shape now: no failure of the lane.
  if (lane.state === 'EVICTED' && lane.trigger === 'plan') return { kind: 'plan' };
  if (!isSettled(lane.state)) return { kind: 'wait' };
  if (isServing(lane.state)) return { kind: 'ready' };
  return { kind: 'failed', reason: lane.reason === '' ? `the lane is ${lane.state}` : lane.reason };
}
