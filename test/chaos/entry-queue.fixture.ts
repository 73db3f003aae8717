import { setTimeout as pause } from 'node:timers/promises';
import { Queue, QueueEvents } from 'bullmq';
import type { Redis } from 'ioredis';

const POLL_MS = 100;

/** How a job ended: with a value, with a reason, or not at all within the time given. */
export type JobEnd =
  | { state: 'completed'; value: unknown }
  | { state: 'failed'; reason: string }
  | { state: 'lost'; reason: string };

/** One entry queue, seen by BullMQ alone; counts how often each job ends. */
export class EntryQueue {
  readonly #queue: Queue;
  readonly #events: QueueEvents;
  readonly #blocking: Redis;
  readonly #ends = new Map<string, number>();

  constructor(
    private readonly name: string,
    redis: Redis,
  ) {
    const quiet = (): void => undefined;
    this.#queue = new Queue(name, { prefix: '{wl}', connection: redis });
    this.#queue.on('error', quiet);
    this.#blocking = redis.duplicate();
    this.#blocking.on('error', quiet);
    this.#events = new QueueEvents(name, { prefix: '{wl}', connection: this.#blocking });
    this.#events.on('error', quiet);
    const ended = ({ jobId }: { jobId: string }): void => {
      this.#ends.set(jobId, (this.#ends.get(jobId) ?? 0) + 1);
    };
    this.#events.on('completed', ended);
    this.#events.on('failed', ended);
  }

  /** Resolves with the job's id once Redis has it. */
  async add(job: string, data: object): Promise<string> {
    const { id } = await this.#queue.add(job, data);
    if (id === undefined) throw new Error(`queue ${this.name} gave no id to a job`);
    return id;
  }

  /** Asks for the job until it has ended. */
  async end(id: string, limitMs: number): Promise<JobEnd> {
    const until = performance.now() + limitMs;
    let state = 'unknown';
    while (performance.now() < until) {
      // The state first: a job read before its end holds no result yet.
      state = await this.#queue.getJobState(id);
      const job = await this.#queue.getJob(id);
      if (job === undefined) return { state: 'lost', reason: `job ${id} is gone, last ${state}` };
      if (state === 'failed') return { state, reason: job.failedReason };
      if (state === 'completed') return { state, value: job.returnvalue };
      await pause(POLL_MS);
    }
    return { state: 'lost', reason: `job ${id} of ${this.name} is still ${state} after ${limitMs} ms` };
  }

  endedAgain(): string[] {
    return [...this.#ends]
      .filter(([, times]) => times > 1)
      .map(([job, times]) => `job ${job} of ${this.name} ended ${times} times`);
  }

  /** Redis may be gone already: then BullMQ's own closing would wait for it. */
  close(): void {
    this.#blocking.disconnect();
    this.#events.close().catch(() => undefined);
    this.#queue.close().catch(() => undefined);
  }
}
