import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { type ErrorCode, type WarmLaneJob, WarmlaneError, warmLaneJobSchema } from '@warmlane/contracts';
import type { Logger } from '@warmlane/observability';
import { createWorker, EVENTS_KEPT, WARMUP_SETTINGS } from '@warmlane/queues';
import { warmLaneQueueName } from '@warmlane/redis';
import { type Job, UnrecoverableError, type Worker } from 'bullmq';
import { Reconciler } from '../fleet/reconciler.js';
import { IdentityService } from '../identity/identity.service.js';
import { type Lane, placeOf } from '../lanes/lane.js';
import { LaneRecords } from '../lanes/lane-records.js';
import { LaneRegistry } from '../lanes/lane-registry.js';
import { LOGGER } from '../logger.js';
import { WorkerRedis } from '../redis.provider.js';
import { laneOutcome } from './lane-outcome.js';

/** Jobs only wait for lanes, so many may wait at once. */
const CONCURRENCY = 64;
/** What is waited for is noticed at once; this is for what is not (a cancel whose notice was lost). */
const LOOK_AGAIN_MS = 1_000;
/** The queue is noted again, in case Redis lost its memory. */
const NOTE_EVERY_MS = 5 * 60_000;

/** What a `warm-lane` job returns. */
export interface WarmLaneResult {
  lane: string;
}

/** Runs the `warm-lane` jobs of this worker: each waits for the final state of its lane, which the plan warms anyway. */
@Injectable()
export class WarmLaneProcessor {
  private worker: Worker<unknown, WarmLaneResult, string> | null = null;
  private noting: NodeJS.Timeout | undefined;

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(Reconciler) private readonly reconciler: Reconciler,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneRecords) private readonly records: LaneRecords,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  start(): void {
    // On the connection of the Worker's own commands, so before them.
    this.note();
    this.noting = setInterval(() => this.note(), NOTE_EVERY_MS);
    this.noting.unref();
    this.worker = createWorker<unknown, WarmLaneResult>(
      warmLaneQueueName(this.identity.id),
      (job, _token, signal) => this.process(job, signal),
      {
        redis: this.redis.redis,
        settings: WARMUP_SETTINGS,
        concurrency: CONCURRENCY,
        holder: this.identity.id,
        onError: (queue, error) => this.logger.error({ err: error, queue }, 'the warm-up queue reported an error'),
      },
    );
  }

  /** Leaves what it waits for to others: without `force` it would wait for lanes that are not warmed any more. */
  async close(): Promise<void> {
    clearInterval(this.noting);
    await this.worker?.close(true);
  }

  /** A queue that is not noted would stay after this worker. */
  private note(): void {
    this.redis.warmLaneQueues.use([this.identity.id], { eventsKept: EVENTS_KEPT }).catch((error: unknown) => {
      this.logger.error({ err: error }, 'the warm-up queue could not be noted');
    });
  }

  private async process(job: Job<unknown, WarmLaneResult>, signal: AbortSignal | undefined): Promise<WarmLaneResult> {
    const parsed = warmLaneJobSchema.safeParse(job.data);
    if (!parsed.success) throw refusal('bad-request', 'not a warm-lane job of this version');
    await this.reconciler.lookNow();
    return await this.settled(parsed.data, signal);
  }

  private async settled(job: WarmLaneJob, signal: AbortSignal | undefined): Promise<WarmLaneResult> {
    for (;;) {
      if (signal?.aborted === true) throw refusal('canceled', 'the warm-up was canceled');
      const lane = this.laneOf(job);
      const outcome = laneOutcome(lane, job.warmup);
      if (lane !== null && outcome.kind === 'ready') return { lane: lane.id };
      if (outcome.kind === 'failed') throw refusal('internal', outcome.reason);
      if (outcome.kind === 'plan') await this.checkPlanned(job);
      await Promise.race([this.records.nextMove(), delay(LOOK_AGAIN_MS, undefined, { ref: false })]);
    }
  }

  private laneOf(job: WarmLaneJob): Lane | null {
    return this.registry.at(placeOf(job)).at(-1) ?? null;
  }

  /** Throws where no lane will come: the shape left the plan, is held back here, or belongs on another worker. */
  private async checkPlanned(job: WarmLaneJob): Promise<void> {
    const entries = await this.redis.plans.entries(job.model, job.version);
    const entry = entries.find((one) => one.shapeKey === job.shapeKey);
    if (entry === undefined || !entry.warmups.includes(job.warmup)) {
      throw refusal('canceled', 'the shape left the plan');
    }
    if (entry.held.includes(this.identity.id)) throw refusal('conflict', 'the lane was evicted and is held back here');
    await this.reconciler.lookNow();
    if (this.reconciler.isWanted(placeOf(job)) || this.laneOf(job) !== null) return;
    throw refusal('worker-gone', 'the shape belongs on another worker by now');
  }
}

/** Ends the job for good, with the JSON of the error as its reason. */
function refusal(code: ErrorCode, message: string): UnrecoverableError {
  return new UnrecoverableError(JSON.stringify(new WarmlaneError(code, message).toBody()));
}
