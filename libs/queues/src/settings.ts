import { CLASS_FAILED_KEPT_MS } from '@warmlane/redis';
import type { KeepJobs } from 'bullmq';

/** What differs between kinds of queues in how a dead worker's jobs come back and what is kept. */
export interface WorkerSettings {
  /** ms that an active job stays with a worker that no longer renews it. */
  lockDuration: number;
  /** ms between the checks that return the jobs of dead workers. */
  stalledInterval: number;
  /** A net only: a death charges every job in flight, so who really pays is decided by the worker's own rules. */
  maxStalledCount: number;
  maxStartedAttempts: number;
  removeOnComplete: KeepJobs;
  removeOnFail: KeepJobs;
}

/** Seconds between polls of an idle queue; a new job wakes a blocked worker at once. */
export const DRAIN_DELAY_S = 30;

/** ms after a failed fetch; BullMQ's own 15 s would be felt after each Redis restart. */
export const RUN_RETRY_DELAY_MS = 1_000;

/** Entries kept in a queue's event stream: nobody of ours reads it, and uncut it holds 10,000 (0.5 MB per queue). */
export const EVENTS_KEPT = 100;

/**
 * Class and cold queues. With a lock of 5 s and a check every 2 s an adopter has a dead lane's active jobs after about
 * 5 s (61 s with BullMQ's defaults).
 */
export const SERVING_SETTINGS: WorkerSettings = {
  lockDuration: 5_000,
  stalledInterval: 2_000,
  maxStalledCount: 10,
  maxStartedAttempts: 10,
  removeOnComplete: { count: 0 },
  removeOnFail: { age: CLASS_FAILED_KEPT_MS / 1_000, count: 100 },
};

/** Longer than the longest deadline (1 h): while a flow's id is kept, adding it again changes nothing. */
export const WARMUP_COMPLETED_KEPT_MS = 2 * 3_600_000;

/**
 * Warm-up queues: the jobs only wait for lanes, so a renewed lock says that the process lives. A worker that comes back
 * within 15 s under its id has its interrupted jobs again after at most 15 s; until then their parent waits.
 */
export const WARMUP_SETTINGS: WorkerSettings = {
  lockDuration: 10_000,
  stalledInterval: 5_000,
  maxStalledCount: 100,
  maxStartedAttempts: 200,
  removeOnComplete: { age: WARMUP_COMPLETED_KEPT_MS / 1_000 },
  removeOnFail: { age: WARMUP_COMPLETED_KEPT_MS / 1_000 },
};

/** Events of the entry queues kept for `waitUntilFinished` of bare clients, which read them as they come: four a job. Each of a completed job holds its answer. */
export const ENTRY_EVENTS_KEPT = 1_000;

/** Finished jobs of the entry queues are kept for those who poll. */
export const ENTRY_COMPLETED_KEPT_MS = 60_000;
export const ENTRY_FAILED_KEPT_MS = 3_600_000;

/**
 * Entry queues. A bare client waits for the job itself, so what is finished is kept: completed 60 s, failed 1 h, at most
 * 1,000. It sends no such options with its job; the Worker's count then.
 */
export const ENTRY_SETTINGS: WorkerSettings = {
  lockDuration: 5_000,
  stalledInterval: 2_000,
  maxStalledCount: 100,
  maxStartedAttempts: 200,
  removeOnComplete: { age: ENTRY_COMPLETED_KEPT_MS / 1_000 },
  removeOnFail: { age: ENTRY_FAILED_KEPT_MS / 1_000, count: 1_000 },
};

/** Jobs of an entry queue that one dispatcher holds: they stay active until answered, and cost it only memory. */
export const ENTRY_CONCURRENCY = 256;

/** Sum of tensor bytes that travel inside an internal job; above, a blob is cheaper (100 kB: 1.0 against 5.5 ms). */
export const INLINE_BYTES = 8 * 1024;

/** Largest blob written on the queue's own connection, in one round trip with the add; a bigger one would hold up every small add. */
export const SAME_SOCKET_BYTES = 256 * 1024;

/** Sum of tensor bytes that the jobs of the entry queue carry inline, in and out. */
export const ENTRY_INLINE_BYTES = 64 * 1024;

/** A request waits this long for a lost connection to come back before it is refused with `redis-away`. */
export const REDIS_PATIENCE_MS = 1_000;

/** And this long for an open connection on which nothing comes: a busy machine may keep Redis from running for a second. */
export const REDIS_SILENCE_MS = 2_000;

/** Input blobs outlive the deadline by this much, so that a job that is just being run does not lose them. */
export const BLOB_MARGIN_MS = 60_000;

/** Output blobs of queue answers live this long after the answer. */
export const ANSWER_BLOB_TTL_MS = 60_000;

/** Output blobs of synchronous answers: unlinked on delivery, else gone after this. */
export const HTTP_ANSWER_BLOB_TTL_MS = 10_000;
