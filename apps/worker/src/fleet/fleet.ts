import { Inject, Injectable } from '@nestjs/common';
import type { LaneDoc, WorkerDoc } from '@warmlane/contracts';
import { isServing } from '@warmlane/lanes';
import { Liveness } from '@warmlane/redis';
import { WorkerRedis } from '../redis.provider.js';

/** States in which a worker takes lanes. */
const TAKES_LANES: ReadonlySet<WorkerDoc['state']> = new Set(['serving', 'degraded']);

/** The fleet at one moment. */
export interface FleetView {
  /** Live workers that take lanes. */
  workers: WorkerDoc[];
  /** Lanes that serve, on live workers in their current epoch. */
  serving: LaneDoc[];
}

/** Reads who else is there and what serves. */
@Injectable()
export class Fleet {
  readonly liveness: Liveness;

  constructor(@Inject(WorkerRedis) private readonly redis: WorkerRedis) {
    this.liveness = new Liveness(redis.redis);
  }

  async view(): Promise<FleetView> {
    const [live, workers, lanes] = await Promise.all([
      this.liveness.live(),
      this.redis.workers.list(),
      this.redis.lanes.list(),
    ]);
    return {
      workers: workers.filter((worker) => live.has(worker.id) && TAKES_LANES.has(worker.state)),
      serving: lanes.filter((lane) => isServing(lane.state) && live.get(lane.worker) === lane.epoch),
    };
  }

  close(): void {
    this.liveness.close();
  }
}
