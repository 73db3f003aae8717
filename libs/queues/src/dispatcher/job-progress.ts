import { createHash } from 'node:crypto';
import type { Job } from 'bullmq';
import { z } from 'zod';

/** What a dispatcher notes in a job's progress before it goes on, for the one that may have to run it again. */
const inferProgressSchema = z.object({ request: z.string(), queue: z.string(), deadlineAt: z.number() });
export type InferProgress = z.infer<typeof inferProgressSchema>;

const warmProgressSchema = z.object({ warmup: z.string() });

/**
 * The internal request of an attempt of a job. It is the same when the job is run again because its dispatcher died, and
 * another one when BullMQ tries a failed job again; the timestamp tells two jobs apart that had one id after each other.
 */
export function requestOf(job: Job<unknown>): string {
  const text = [job.queueName, job.id, job.timestamp, job.attemptsMade].join('\0');
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

/** What an earlier run of this very attempt noted; null at the first sight. */
export function readInferProgress(progress: unknown, request: string): InferProgress | null {
  const parsed = inferProgressSchema.safeParse(progress);
  return parsed.success && parsed.data.request === request ? parsed.data : null;
}

/** The warm-up that an earlier run of the job made; null at the first sight. */
export function readWarmProgress(progress: unknown): string | null {
  const parsed = warmProgressSchema.safeParse(progress);
  return parsed.success ? parsed.data.warmup : null;
}
