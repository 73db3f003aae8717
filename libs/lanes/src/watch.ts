import { median } from './percentile.js';

const WINDOW_RUNS = 50;
const SLOW_RATIO = 3;
const SLOW_ABOVE_MS = 2;
const APART_MS = 10_000;

/** True where a median is over three times the record and 2 ms above it. */
export function isSlow(medianMs: number, recordMs: number): boolean {
  return medianMs > SLOW_RATIO * recordMs && medianMs > recordMs + SLOW_ABOVE_MS;
}

/**
 * Watches a lane's served runs: suspect when the median of 50 runs {@link isSlow} twice, at least 10 s apart, with no
 * good window between.
 */
export class LaneWatch {
  private runs: number[] = [];
  private slowSince: number | null = null;

  constructor(private readonly recordMs: number) {}

  /** Median of the window that made it suspect, or null. */
  push(computeMs: number, nowMs: number): number | null {
    this.runs.push(computeMs);
    if (this.runs.length < WINDOW_RUNS) return null;
    const found = median(this.runs);
    this.runs = [];
    if (!isSlow(found, this.recordMs)) {
      this.slowSince = null;
      return null;
    }
    if (this.slowSince === null) {
      this.slowSince = nowMs;
      return null;
    }
    return nowMs - this.slowSince >= APART_MS ? found : null;
  }
}

const FIRST_PAUSE_MS = 60_000;
const MOST_PAUSE_MS = 3_600_000;

/** How long a slow lane rests after the given number of its successors, from 1, failed, ms: what they failed of may last. */
export function successorPauseMs(failed: number): number {
  return Math.min(MOST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failed - 1));
}

/** How much slower a revisited lane may be than its own steady median. */
const REVISIT_RATIO = { cuda: 1.5, cpu: 3 } as const;
/**
 * A run on the CPU shares its cores with everything else on the machine: below 1 ms one pre-emption is more than three
 * times the run, so that much is not held against the lane.
 */
const REVISIT_SLACK_MS = { cuda: 0, cpu: 1 } as const;

/** True where a revisited lane is as fast as it was: it did not forget its shape. */
export function keptItsShape(provider: 'cpu' | 'cuda', revisitMs: number, steadyMs: number): boolean {
  return revisitMs <= REVISIT_RATIO[provider] * steadyMs + REVISIT_SLACK_MS[provider];
}

/**
 * Of the runs right after other shapes the fastest: other sessions' threads spin on for a while, so more is allowed than for the
 * median. A session that forgets takes 65 ms and more there, against 4 ms (on an H100).
 */
const AT_ONCE_RATIO = { cuda: 3, cpu: 10 } as const;
const AT_ONCE_SLACK_MS = { cuda: 1, cpu: 5 } as const;

/** A revisited lane's times, ms. */
export interface RevisitTimes {
  /** Of all its runs. */
  medianMs: number;
  /** The fastest of those right after other shapes. */
  atOnceMs: number;
}

/** What a revisit holds against a lane: the time that is too long, or null. */
export function forgottenMs(provider: 'cpu' | 'cuda', times: RevisitTimes, steadyMs: number): number | null {
  if (!keptItsShape(provider, times.medianMs, steadyMs)) return times.medianMs;
  const most = AT_ONCE_RATIO[provider] * steadyMs + AT_ONCE_SLACK_MS[provider];
  return times.atOnceMs <= most ? null : times.atOnceMs;
}

/** A revisit so much faster than the steady median says that something else slowed the latter. */
const DISTURBED_RATIO = 1.25;

/**
 * True where a lane's steady figures were taken beside other work: requests were served meanwhile, or the revisit, right
 * after other shapes ran, was faster than the steady state.
 */
export function wasDisturbed(of: { served: number; steadyMs: number; revisitMs: number }): boolean {
  return of.served > 0 || of.steadyMs > DISTURBED_RATIO * of.revisitMs;
}
