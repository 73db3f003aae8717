/**
 * Watchdog limits of native calls, ms. They are there to end a call that hangs, not to judge a slow one: an exhaustive
 * search was measured at 3.4 s for one shape of a small model, so minutes are left for large ones.
 */
export const LIMITS = {
  create: 300_000,
  first: 600_000,
  capture: 60_000,
  measure: 60_000,
  run: 60_000,
  release: 30_000,
  memory: 10_000,
  /** The reference runs unoptimised on one thread: 1.5 s for a det input that a lane answers in 10 ms. */
  reference: 600_000,
  load: 300_000,
} as const;

/**
 * A limit for so many runs of a lane: one that took long at its first run may take as long again under load, each time.
 * @param baseMs what is always allowed
 */
export function runsLimitMs(baseMs: number, runs: number, firstMs: number): number {
  return baseMs + 2 * runs * firstMs;
}

/** Timed runs of a lane: as many, or as long, whichever ends first. */
export const MEASURE = { runs: 100, leastRuns: 10, budgetMs: 3_000 } as const;

/** Runs of a revisited lane, over all visits. */
export const REVISIT_RUNS = 20;
/** How often other shapes run before: one visit alone could be slow by chance. */
export const REVISIT_VISITS = 2;

/** How often measure and revisit are tried before a lane that seems to forget its shape is given up. */
export const REVISIT_ATTEMPTS = 3;

/**
 * Lanes that are created at a time, while no request came for `quietMs`: four took 3.5 s for the first runs of 16 lanes on an
 * H100, one after the other 4.6 s. So many of them at most wait for their proof.
 */
export const GROUP = { lanes: 4, proofs: 2, quietMs: 1_000, mostUnproven: 16 } as const;
