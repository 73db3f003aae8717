import type { ClassJob } from '@warmlane/contracts';

/**
 * What a job of priority 1 lets more urgent ones have of its time before its deadline: one of priority 9, three quarters. So
 * urgent requests overtake, and whatever they send, a patient one still has its turn with a quarter of its time left.
 */
const SHARE = 1 / 12;

const TICK_MS = 1_000;
/** BullMQ takes 1 to 2^21 - 1, 0 being something else. The ticks begin anew every 24 days; who waits then is passed once. */
const TICKS = 2 ** 21 - 1;

/**
 * A job's place in its queue, as BullMQ's priority, which is a number that never changes: the second from which on nothing
 * that is added later comes before it. First come, first served within that second.
 */
export function queuePriority(job: Pick<ClassJob, 'enqueuedAt' | 'deadlineAt' | 'priority'>): number {
  const { enqueuedAt, deadlineAt, priority } = job;
  const dueAt = enqueuedAt + priority * SHARE * Math.max(0, deadlineAt - enqueuedAt);
  return 1 + (Math.floor(dueAt / TICK_MS) % TICKS);
}
