import {
  type BatchAxes,
  type ClassJob,
  type LaneRun,
  type LaneServed,
  type NamedTensor,
  WarmlaneError,
} from '@warmlane/contracts';
import type { Scheduled } from '@warmlane/lanes';
import type { Progress } from './progress.js';

/** How a request was served. */
export interface Served {
  lane: LaneServed;
  /** Size of its batch axis; 1 where the model has none. */
  items: number;
  run: LaneRun;
  /** When the run that succeeded began, Redis TIME in ms; of several the first. */
  startedAt: number;
}

/** One request that waits for a device or runs on it. */
export interface Work extends Scheduled {
  readonly request: ClassJob;
  readonly inputs: NamedTensor[];
  /** Which lanes can serve it: see `classKey`. */
  readonly key: string;
  /** Where its items lie; null: it is one item. */
  readonly axes: BatchAxes | null;
  /** Parts that it can be cut into: the size of its batch axis, 1 where its lanes take it whole. */
  readonly items: number;
  /** Size of its batch axis, for statistics; 1 where the model has none. */
  readonly rows: number;
  /** Its inputs are padded to the lane's shape. */
  readonly padded: boolean;
  /** Requests share a run only where this is equal: what their inputs without a batch axis hold. */
  readonly shared: string;
  /** It shares its runs with nobody: a run that it shared failed. */
  readonly alone: boolean;
  /** Its items that have begun and ended. */
  readonly progress: Progress;
  /** Settles the run that it waits for. */
  readonly done: (served: Served) => void;
  readonly failed: (reason: unknown) => void;
}

/** The work is to be routed again: its lane went, or one appeared, or the process died that it was in. */
export class Reroute extends Error {
  /**
   * @param suspect the work may be what the process died of
   * @param alone a run that it shared failed: it must not share the next one
   */
  constructor(
    readonly suspect: boolean,
    readonly alone = false,
  ) {
    super('to be routed again');
  }
}

/**
 * True where most of a request's time has gone in the line, and what is left is not enough for an answer. Without this a
 * device with too much to do is busy with answers that come just too late: whatever is next in line has waited until then
 * (30 % of the runs, measured at four times of what a lane can do). Of what has not waited for long nothing is foreseen:
 * it runs whatever its deadline, so that a time that was once seen too long is seen anew.
 *
 * @param answerMs from the beginning of a run to its answer
 */
export function waitedInVain(
  work: Pick<Work, 'enqueuedAt' | 'deadlineAt' | 'progress' | 'items'>,
  now: number,
  answerMs: number,
): boolean {
  const leftMs = work.deadlineAt - now;
  const begun = work.progress.left < work.items;
  return !begun && leftMs < answerMs && now - work.enqueuedAt > leftMs;
}

export function deadlineExceeded(request: ClassJob): WarmlaneError {
  return new WarmlaneError(
    'deadline-exceeded',
    `the request for ${request.model}/${request.version} waited until it could not be answered by its deadline`,
    'Raise deadlineMs, or send less at a time.',
  );
}

export function abandoned(): WarmlaneError {
  return new WarmlaneError('canceled', 'the request was canceled by its sender before it was run');
}
