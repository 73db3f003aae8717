import { Inject, Injectable } from '@nestjs/common';
import { placeLane } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { IdentityService } from '../identity/identity.service.js';
import { LOGGER } from '../logger.js';
import { WorkerRedis } from '../redis.provider.js';
import { Fleet, type FleetView } from './fleet.js';

/**
 * Marks the lanes of workers that have been silent for 15 s STALE. One live worker does it for each, chosen by rank; that
 * two did it would change nothing. Their warm-up queues are ended by whoever coordinates the warm-ups.
 */
@Injectable()
export class GoneWorkers {
  private readonly done = new Set<string>();

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(Fleet) private readonly fleet: Fleet,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async sync({ workers }: FleetView): Promise<void> {
    const gone = await this.fleet.liveness.gone();
    for (const worker of this.done) if (!gone.includes(worker)) this.done.delete(worker);
    const live = workers.map((worker) => worker.id);
    for (const worker of gone) {
      if (worker === this.identity.id || this.done.has(worker)) continue;
      const [chosen] = placeLane({ model: '', version: '', shapeClass: worker }, 1, live);
      if (chosen === this.identity.id) await this.windUp(worker);
    }
  }

  private async windUp(worker: string): Promise<void> {
    const stale = await this.redis.lanes.markStale(worker, `worker ${worker} has been silent for 15 s`);
    this.done.add(worker);
    if (stale.length > 0) this.logger.warn({ worker, lanes: stale.length }, 'a worker is gone: its lanes are STALE');
  }
}
