import { type ClassJob, type LaneRun, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import type { Scheduled } from '@warmlane/lanes';

/** How a request was served. */
export interface Served {
  lane: 'ready' | 'cold';
  run: LaneRun;
  /** When the run that succeeded began, Redis TIME in ms. */
  startedAt: number;
}

/** One request that waits for a device or runs on it. */
export interface Work extends Scheduled {
  readonly request: ClassJob;
  readonly inputs: NamedTensor[];
  /** Which lane can serve it: see `laneKey`. */
  readonly key: string;
  /** Settles the run that it waits for. */
  readonly done: (served: Served) => void;
  readonly failed: (reason: unknown) => void;
}

/** The work is to be routed again: its lane went, or one appeared, or the process died that it was in. */
export class Reroute extends Error {
  /** @param suspect the work may be what the process died of */
  constructor(readonly suspect: boolean) {
    super('to be routed again');
  }
}

export function deadlineExceeded(request: ClassJob): WarmlaneError {
  return new WarmlaneError(
    'deadline-exceeded',
    `the deadline passed while the request for ${request.model}/${request.version} waited`,
    'Raise deadlineMs, or send less at a time.',
  );
}
