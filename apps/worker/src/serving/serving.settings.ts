/** Runs that a device has at once: one computing, one on its way there or back ... */
export const LANE_DEPTH = 2;

/** ... the second only ahead of short ones. The way there and back takes some tenths of a ms. */
export const AHEAD_BELOW_MS = 2;

/** The fallback runs one request at a time, so that it is known which one a death belongs to. */
export const FALLBACK_DEPTH = 1;

/** A run may take this many times the lane's own median before it counts as stuck. */
export const LIMIT_FACTOR = 20;

/** How often an input may kill a runtime that it has for itself before it is called poison. */
export const DEATHS_TO_POISON = 2;

/** What is kept about a request under suspicion outlives any deadline (1 h at most). */
export const SUSPECT_TTL_MS = 2 * 3_600_000;

/** Waiting work is looked through this often for passed deadlines, and credit is balanced anew. */
export const SWEEP_MS = 50;

/** Between looks for class queues without a live holder; with a heartbeat of 1 s an orphan is adopted in about 1.3 s. */
export const ADOPT_EVERY_MS = 250;

/** A queue that a live worker held at the last look is looked at again after this, or when that worker is gone. */
export const HELD_LOOK_MS = 1_000;

/** An adopted queue that stayed empty for so long is let go. */
export const ADOPTED_IDLE_MS = 5_000;

/** A class without lanes and jobs loses its keys after this; a producer's route is at most 0.2 s old. */
export const CLASS_KEPT_MS = 60_000;

/** Wait before a run is tried again on a process that is just starting. */
export const RETRY_START_MS = 100;

/** A job whose end BullMQ never reported (its lock was lost) stops counting as active after this. */
export const LOST_JOB_MS = 10_000;

/** Inline outputs of one answer, in sum; above, each output is a blob. */
export const ANSWER_INLINE_BYTES = 64 * 1024;

/** Slots in which inputs go to the runtime are free with the answer; this long at most where that never comes. */
export const INPUT_SLOT_TTL_MS = 300_000;

/** Slots of answers are read at once, or belong to nobody any more. */
export const OUTPUT_SLOT_TTL_MS = 30_000;

/** How long small answers are kept in Redis. */
export const ANSWER_TTL_MS = 60_000;

/** How long answer blobs live where the producer does not say. */
export const ANSWER_BLOB_TTL_MS = 60_000;

export interface ServingOptions {
  /** Least limit of a run on a lane, ms; a lane that takes longer gets {@link LIMIT_FACTOR} times its own median. */
  laneLimitMs: number;
  /** Limit of a run on the fallback, whose time nobody knows beforehand, ms. */
  fallbackLimitMs: number;
  /** The credit is as for lanes of at least this batch. */
  largestBatch: number;
}

export const DEFAULT_SERVING_OPTIONS: ServingOptions = {
  laneLimitMs: 30_000,
  fallbackLimitMs: 120_000,
  largestBatch: 1,
};
