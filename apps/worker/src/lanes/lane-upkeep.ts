import { Inject, Injectable } from '@nestjs/common';
import { isServing } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { IdentityService } from '../identity/identity.service.js';
import { LOGGER } from '../logger.js';
import { WorkerRedis } from '../redis.provider.js';
import type { Lane } from './lane.js';
import { LaneManager } from './lane-manager.js';
import { LaneRecords } from './lane-records.js';
import { LaneRegistry } from './lane-registry.js';
import { LaneWatcher } from './lane-watcher.js';

/** Keeps Redis in step with the lanes that are really here, whatever happened to it. */
@Injectable()
export class LaneUpkeep {
  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneRecords) private readonly records: LaneRecords,
    @Inject(LaneManager) private readonly manager: LaneManager,
    @Inject(LaneWatcher) private readonly watcher: LaneWatcher,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Writes records again that vanished, puts lanes back that others gave up after one verified run each, and forgets lanes that
   * have left and documents of lanes that an earlier life of this worker left behind.
   */
  async restore(): Promise<void> {
    const docs = new Map((await this.redis.lanes.ofWorker(this.identity.id)).map((doc) => [doc.id, doc]));
    for (const lane of this.registry.all) {
      const doc = docs.get(lane.id);
      docs.delete(lane.id);
      if (doc?.state === 'STALE' && isServing(lane.state)) await this.putBack(lane);
      else if (doc === undefined || doc.state !== lane.state || doc.epoch !== lane.epoch)
        await this.records.restore(lane);
      // It left while Redis refused to be told.
      if (lane.state === 'EVICTED') this.registry.remove(lane);
    }
    for (const doc of docs.values()) {
      if (doc.state === 'EVICTED' || doc.state === 'STALE' || doc.epoch === this.identity.epoch) continue;
      await this.redis.lanes.put({
        ...doc,
        epoch: this.identity.epoch,
        state: 'EVICTED',
        since: new Date().toISOString(),
        trigger: 'restart',
        reason: 'the worker was started again without it',
      });
    }
  }

  private async putBack(lane: Lane): Promise<void> {
    if (!(await this.watcher.proveOnce(lane)) || !isServing(lane.state)) return;
    this.logger.info({ lane: lane.id, shapeKey: lane.shapeKey }, 'a lane that was given up is back');
    await this.records.restore(lane);
  }

  /** Ends the unplanned lanes that somebody asked to be ended; goes on by itself. */
  async evictRequested(): Promise<void> {
    for (const id of await this.redis.lanes.takeEvictRequests(this.identity.id)) {
      const lane = this.registry.find(id);
      if (lane !== null) this.manager.dismiss([{ lane, trigger: 'evict', reason: 'evicted' }]);
    }
  }

  /** Starts the checks that somebody asked for; they go on by themselves. */
  async verifyRequested(): Promise<void> {
    for (const id of await this.redis.lanes.takeVerifyRequests(this.identity.id)) {
      const lane = this.registry.find(id);
      if (lane === null) continue;
      this.watcher
        .check(lane, 'verify', 'asked for')
        .catch((thrown: unknown) => this.logger.error({ err: thrown, lane: id }, 'a lane could not be verified'));
    }
  }
}
