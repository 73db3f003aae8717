import { Inject, Injectable } from '@nestjs/common';
import { type LaneState, type LaneTrigger, type StepDoc, WarmlaneError } from '@warmlane/contracts';
import { isServing, mayMove, type Suspicion } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { IdentityService } from '../identity/identity.service.js';
import { LOGGER } from '../logger.js';
import { WorkerRedis } from '../redis.provider.js';
import { type Lane, type LaneSpec, placeOf } from './lane.js';

/** The write lost: a later epoch has begun, so the lane it spoke of is gone. */
export class StaleEpochError extends WarmlaneError {
  constructor(lane: Lane) {
    super('worker-gone', `lane ${lane.id} belongs to epoch ${lane.epoch}, which is over`, 'It is warmed again.');
    this.name = 'StaleEpochError';
  }
}

export interface Move {
  reason?: string;
  trigger?: LaneTrigger;
}

/** Writes this worker's lanes and their steps to Redis, in memory and there at once. The only one to change a state. */
@Injectable()
export class LaneRecords {
  private waiting: (() => void)[] = [];
  /** Lanes that stand among the holders of their class in Redis, by epoch, or may: a write that failed may have arrived. */
  private readonly holders = new WeakMap<Lane, number>();

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Resolves at the next change of any lane. */
  nextMove(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** The current epoch: of lanes that are made now. */
  get epoch(): number {
    return this.identity.epoch;
  }

  /**
   * Moves a lane and writes its document. Throws {@link StaleEpochError} where its epoch is over; the lane has its new
   * state in memory all the same.
   */
  async move(lane: Lane, to: LaneState, { reason = '', trigger = lane.trigger }: Move = {}): Promise<void> {
    const from = lane.state;
    if (from !== to && !mayMove(from, to)) throw new Error(`lane ${lane.id} cannot go from ${from} to ${to}`);
    lane.state = to;
    lane.since = new Date();
    lane.reason = reason;
    lane.trigger = trigger;
    const { id, model, version, shapeKey, epoch } = lane;
    this.logger.info({ lane: id, model, version, shapeKey, epoch, from, to, trigger, reason }, 'lane');
    const written = await this.write(lane, from);
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
    if (!written) throw new StaleEpochError(lane);
  }

  /** Writes the document again as it is, because it is not in Redis (any more). @returns false for a stale epoch */
  async restore(lane: Lane): Promise<boolean> {
    return await this.write(lane, lane.state);
  }

  /** The id that this worker's lane at a place had before the worker was started again. */
  async formerId(spec: LaneSpec): Promise<string | undefined> {
    const { name: model, version } = spec.held;
    const [former] = await this.redis.lanes.list({ worker: this.identity.id, model, version, shapeKey: spec.shapeKey });
    return former?.id;
  }

  async isQuarantined(lane: Lane): Promise<boolean> {
    const { environment } = this.identity;
    const where = { environment, modelDigest: lane.spec.held.files.digest, shapeKey: lane.shapeKey };
    return (await this.redis.workers.getQuarantine(where)) !== null;
  }

  /** A step of the lane that was open when this worker ended: its processes may have ended by it. */
  async openSuspicion(lane: Lane): Promise<Suspicion | null> {
    const steps = await this.redis.workers.getSteps(this.identity.id);
    const open = steps.some((step) => step.epoch !== lane.epoch && placeOf(step) === lane.place);
    return open ? { deaths: 1, trialFirst: true } : null;
  }

  /** Says whether smaller requests may be padded to the class of a lane that serves. */
  private async notePadding(lane: Lane): Promise<void> {
    const { rules, class: shapeClass } = lane.spec;
    if (rules.pad === null || lane.record?.padding === undefined) return;
    const proven = lane.record.padding.verified ? rules.pad.digest : null;
    await this.redis.classes.setPadding(lane.model, lane.version, shapeClass, proven);
  }

  private async write(lane: Lane, from: LaneState): Promise<boolean> {
    const doc = lane.toDoc(this.identity.id);
    if (isServing(lane.state)) {
      await this.notePadding(lane);
      this.holders.set(lane, lane.epoch);
      return await this.redis.lanes.ready(doc, lane.spec.class);
    }
    if (!isServing(from) && this.holders.get(lane) !== lane.epoch) return await this.redis.lanes.put(doc);
    const written = await this.redis.lanes.leave(doc, lane.spec.class);
    this.holders.delete(lane);
    return written;
  }

  /** Says what the runtime is about to do with a lane; found there after a death. */
  async openStep(lane: Lane, step: StepDoc['step']): Promise<void> {
    const { id, model, version, shapeKey, epoch } = lane;
    const since = new Date().toISOString();
    const written = await this.redis.workers.putStep({
      worker: this.identity.id,
      epoch,
      lane: id,
      model,
      version,
      shapeKey,
      step,
      since,
    });
    if (!written) throw new StaleEpochError(lane);
  }

  async closeStep(lane: Lane): Promise<void> {
    const { model, version, shapeKey, epoch } = lane;
    await this.redis.workers.clearStep({ worker: this.identity.id, epoch, model, version, shapeKey });
  }
}
