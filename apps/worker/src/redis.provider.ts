import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from '@warmlane/observability';
import {
  ClassStore,
  checkRedis,
  createRedis,
  LaneStore,
  ModelStore,
  Notices,
  Outage,
  PlanStore,
  RedisClock,
  TuningStore,
  WarmLaneQueueStore,
  WorkerStore,
} from '@warmlane/redis';
import type { Redis } from 'ioredis';
import { LOGGER } from './logger.js';
import { WORKER_CONFIG, type WorkerConfig } from './worker.config.js';

/** This worker's connections to Redis and the stores over them. */
@Injectable()
export class WorkerRedis {
  readonly redis: Redis;
  readonly blobs: Redis;
  readonly outage: Outage;
  readonly clock: RedisClock;
  readonly notices: Notices;
  readonly lanes: LaneStore;
  readonly classes: ClassStore;
  readonly models: ModelStore;
  readonly plans: PlanStore;
  readonly tunings: TuningStore;
  readonly workers: WorkerStore;
  readonly warmLaneQueues: WarmLaneQueueStore;

  constructor(
    @Inject(WORKER_CONFIG) config: WorkerConfig,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.redis = createRedis(config.redisUrl, { name: 'worker', logger });
    this.blobs =
      config.blobRedisUrl === config.redisUrl
        ? this.redis
        : createRedis(config.blobRedisUrl, { name: 'worker-blobs', logger });
    this.outage = Outage.of(this.redis);
    this.clock = new RedisClock(this.redis);
    this.notices = new Notices(this.redis, logger);
    this.lanes = new LaneStore(this.redis);
    this.classes = new ClassStore(this.redis);
    this.models = new ModelStore(this.redis);
    this.plans = new PlanStore(this.redis);
    this.tunings = new TuningStore(this.redis);
    this.workers = new WorkerStore(this.redis);
    this.warmLaneQueues = new WarmLaneQueueStore(this.redis);
  }

  /** Waits for Redis, checks it and its clock. */
  async open(): Promise<void> {
    await checkRedis(this.redis, this.logger);
    await this.clock.sync();
  }

  /** Drops the connections; commands that still wait for an answer are given up. Idempotent. */
  close(): void {
    this.clock.close();
    this.notices.close();
    this.blobs.disconnect();
    this.redis.disconnect();
  }
}
