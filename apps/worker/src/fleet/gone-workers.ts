import { Inject, Injectable } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import { placeLane } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { createQueue, createWorker, WARMUP_SETTINGS } from '@warmlane/queues';
import { warmLaneQueueName } from '@warmlane/redis';
import { UnrecoverableError, type Worker } from 'bullmq';
import { IdentityService } from '../identity/identity.service.js';
import { LOGGER } from '../logger.js';
import { WorkerRedis } from '../redis.provider.js';
import { Fleet, type FleetView } from './fleet.js';

type Undertaker = Worker<unknown, unknown, string>;

/**
 * Winds up workers that have been silent for 15 s: their lanes turn STALE, their warm-up jobs fail with `worker-gone`, so
 * that no warm-up waits for them. One live worker does it for each, chosen by rank.
 */
@Injectable()
export class GoneWorkers {
  private readonly ending = new Map<string, Undertaker>();

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(Fleet) private readonly fleet: Fleet,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async sync({ workers }: FleetView): Promise<void> {
    const gone = await this.fleet.liveness.gone();
    for (const [worker, undertaker] of this.ending) {
      if (!gone.includes(worker) || (await this.isEmpty(worker))) await this.close(worker, undertaker);
    }
    const live = workers.map((worker) => worker.id);
    for (const worker of gone) {
      if (worker === this.identity.id || this.ending.has(worker)) continue;
      const [chosen] = placeLane({ model: '', version: '', shapeKey: worker }, 1, live);
      if (chosen === this.identity.id) await this.windUp(worker);
    }
  }

  async closeAll(): Promise<void> {
    for (const [worker, undertaker] of this.ending) await this.close(worker, undertaker);
  }

  private async windUp(worker: string): Promise<void> {
    const stale = await this.redis.lanes.markStale(worker, `worker ${worker} has been silent for 15 s`);
    if (stale.length > 0) this.logger.warn({ worker, lanes: stale.length }, 'a worker is gone: its lanes are STALE');
    if (await this.isEmpty(worker)) return;
    const error = new WarmlaneError('worker-gone', `worker ${worker} is gone`, 'The shape is given to another worker.');
    const undertaker = createWorker<unknown, unknown>(
      warmLaneQueueName(worker),
      () => Promise.reject(new UnrecoverableError(JSON.stringify(error.toBody()))),
      { redis: this.redis.redis, settings: WARMUP_SETTINGS, concurrency: 4, holder: this.identity.id },
    );
    this.ending.set(worker, undertaker);
  }

  private async isEmpty(worker: string): Promise<boolean> {
    const queue = createQueue(warmLaneQueueName(worker), { redis: this.redis.redis });
    try {
      const counts = await queue.getJobCounts('waiting', 'active', 'prioritized', 'delayed');
      return Object.values(counts).every((count) => count === 0);
    } finally {
      await queue.close();
    }
  }

  private async close(worker: string, undertaker: Undertaker): Promise<void> {
    this.ending.delete(worker);
    await undertaker.close();
  }
}
