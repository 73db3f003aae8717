import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from '@warmlane/observability';
import { BlobStore, ReplyStore, StatsStore } from '@warmlane/redis';
import { Children } from './children/children.provider.js';
import { Fleet } from './fleet/fleet.js';
import { IdentityService } from './identity/identity.service.js';
import { LOGGER } from './logger.js';
import { LANES, type LanesPort } from './ports.js';
import { WorkerRedis } from './redis.provider.js';
import { ServingService } from './serving/serving.service.js';
import { DEFAULT_SERVING_OPTIONS } from './serving/serving.settings.js';
import { WORKER_CONFIG, type WorkerConfig } from './worker.config.js';

/** Bytes of blobs in Redis over all processes: the same in each, else one would refuse what another took. */
const BLOB_LIMIT_BYTES = 2 * 2 ** 30;

/** Makes the serving part once this worker's id is known. */
@Injectable()
export class Serving {
  private service: ServingService | null = null;
  private stats: StatsStore | null = null;

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(Fleet) private readonly fleet: Fleet,
    @Inject(Children) private readonly children: Children,
    @Inject(LANES) private readonly lanes: LanesPort,
    @Inject(WORKER_CONFIG) private readonly config: WorkerConfig,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  /** Before the first model is held and the first lane READY. */
  start(): void {
    const { redis, blobs, clock } = this.redis;
    this.stats = new StatsStore(redis, this.log);
    this.service = new ServingService({
      worker: this.identity.id,
      redis,
      clock,
      blobs: new BlobStore(blobs, redis, { limitBytes: BLOB_LIMIT_BYTES }),
      replies: new ReplyStore(redis),
      memory: this.children.memory,
      stats: this.stats,
      liveness: this.fleet.liveness,
      lanes: this.lanes,
      notices: this.redis.notices,
      log: this.log,
      options: { ...DEFAULT_SERVING_OPTIONS, laneLimitMs: this.config.runLimitMs },
    });
    this.service.start();
  }

  /** Unsubscribes and finishes what runs, `limitMs` at most. */
  async close(limitMs: number): Promise<void> {
    await this.service?.close(limitMs);
    await this.stats?.close();
  }
}
