import type { LaneState } from '@warmlane/contracts';

/**
 * Which state may follow which. Warming goes left to right; it may start again from QUEUED at any step (the runtime
 * died under it). FAILED, EVICTED and STALE are rest states: only a new reason (plan, warm-up, restart) leaves them.
 */
const NEXT: Record<LaneState, readonly LaneState[]> = {
  QUEUED: ['CREATING', 'FAILED', 'EVICTED', 'STALE'],
  CREATING: ['SEARCHING', 'QUEUED', 'FAILED', 'EVICTED', 'STALE'],
  SEARCHING: ['CAPTURING', 'QUEUED', 'FAILED', 'EVICTED', 'STALE'],
  CAPTURING: ['MEASURING', 'QUEUED', 'FAILED', 'EVICTED', 'STALE'],
  MEASURING: ['VERIFYING', 'QUEUED', 'FAILED', 'EVICTED', 'STALE'],
  VERIFYING: ['READY', 'QUEUED', 'FAILED', 'EVICTED', 'STALE'],
  READY: ['SUSPECT', 'DRAINING', 'QUEUED', 'FAILED', 'EVICTED', 'STALE'],
  SUSPECT: ['READY', 'DRAINING', 'QUEUED', 'FAILED', 'EVICTED', 'STALE'],
  DRAINING: ['EVICTED', 'QUEUED', 'FAILED', 'STALE'],
  EVICTED: ['QUEUED'],
  FAILED: ['QUEUED', 'EVICTED'],
  STALE: ['QUEUED', 'READY', 'EVICTED'],
};

export function mayMove(from: LaneState, to: LaneState): boolean {
  return NEXT[from].includes(to);
}

/** Serves requests, and counts as ready: SUSPECT serves while it is checked again. */
export function isServing(state: LaneState): boolean {
  return state === 'READY' || state === 'SUSPECT';
}

/** Stands in the runtime with its first run and its graph behind it: it can be run, proven or not. */
export function isStanding(state: LaneState): boolean {
  return isServing(state) || state === 'MEASURING' || state === 'VERIFYING';
}

/** On its way to READY. */
export function isWarming(state: LaneState): boolean {
  switch (state) {
    case 'QUEUED':
    case 'CREATING':
    case 'SEARCHING':
    case 'CAPTURING':
    case 'MEASURING':
    case 'VERIFYING':
      return true;
    case 'READY':
    case 'SUSPECT':
    case 'DRAINING':
    case 'EVICTED':
    case 'FAILED':
    case 'STALE':
      return false;
  }
}

/** What a warm-up waits for: nothing more happens to the lane on its account. */
export function isSettled(state: LaneState): boolean {
  return !isWarming(state) && state !== 'DRAINING';
}
