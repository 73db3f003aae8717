/** Times to live of the keys, ms. docs/redis-keys.md explains them. */

/** A holder is not live this long after its last heartbeat. */
export const ALIVE_TTL_MS = 1_000;
/** A worker is given up this long after its last heartbeat: its lanes turn STALE. */
export const PRESENT_TTL_MS = 15_000;
/** How often a worker should beat: three beats may be late before it counts as dead. */
export const HEARTBEAT_EVERY_MS = 250;
/** An id that did not beat for so long may count its epochs from 1 again. */
export const EPOCH_TTL_MS = 7 * 24 * 3_600_000;
/** Documents of workers, of lanes that ended, and of finished warm-ups. */
export const DOCUMENT_TTL_MS = 24 * 3_600_000;
export const QUARANTINE_TTL_MS = 30 * 24 * 3_600_000;
/** A tuning holds until something in its environment changes: so long it is kept unused. */
export const TUNING_TTL_MS = 90 * 24 * 3_600_000;
export const TUNING_STEP_TTL_MS = 7 * 24 * 3_600_000;
/** A worker that tunes and is not heard of for so long is dead. */
export const TUNING_CLAIM_TTL_MS = 15_000;
export const TUNING_CLAIM_RENEW_MS = 3_000;
export const STATS_TTL_MS = 30 * 24 * 3_600_000;
/** What workers said about a load: much longer than anybody waits for one. */
export const LOAD_ANSWERS_TTL_MS = 3_600_000;
export const LANE_REQUEST_TTL_MS = 3_600_000;
/** Failed jobs of class and cold queues, for those who look for a cause. */
export const CLASS_FAILED_KEPT_MS = 3_600_000;
/** Answers, and the stream that names them. */
export const REPLY_TTL_MS = 60_000;
/** Kept beyond a deadline, so that whoever asks just after it learns how it ended. */
export const AFTER_DEADLINE_MS = 60_000;
