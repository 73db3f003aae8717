import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import type { LaneTrigger } from '@warmlane/contracts';
import { isServing } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { LIMITS } from '../limits.js';
import { LOGGER } from '../logger.js';
import { RUNTIME, type RuntimePort } from '../ports.js';
import type { Lane } from './lane.js';
import { LaneCalls } from './lane-calls.js';
import { LaneMemory } from './lane-memory.js';
import { LaneRecords, StaleEpochError } from './lane-records.js';
import { LaneRegistry } from './lane-registry.js';
import { ListenerHub } from './listener-hub.js';
import { RuntimeLife } from './runtime-life.js';

/** How long a leaving lane may finish what runs on it. */
const LEAVE_MS = 30_000;

/** Takes lanes out of service and gives back what they hold. */
@Injectable()
export class LaneDrain {
  constructor(
    @Inject(RUNTIME) private readonly runtime: RuntimePort,
    @Inject(LaneRecords) private readonly records: LaneRecords,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneMemory) private readonly memory: LaneMemory,
    @Inject(ListenerHub) private readonly hub: ListenerHub,
    @Inject(RuntimeLife) private readonly life: RuntimeLife,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** A serving lane in order: out of the holders, finish what runs, release, EVICTED. */
  async drain(lane: Lane, trigger: LaneTrigger, reason: string, limitMs: number = LEAVE_MS): Promise<void> {
    if (!isServing(lane.state)) return;
    const ready = lane.toReady();
    await this.write(this.records.move(lane, 'DRAINING', { trigger, reason }), lane);
    await Promise.race([this.hub.laneLeaving(ready), delay(limitMs, undefined, { ref: false })]);
    await this.release(lane);
    await this.forget(lane, trigger, reason);
  }

  /** Gone without notice: nothing more is sent to it. The caller says what becomes of it. */
  async takeOut(lane: Lane): Promise<void> {
    this.hub.laneGone(lane.toReady());
    await this.release(lane);
  }

  /** Gives back what a lane holds in the runtime; a runtime that is gone holds nothing. */
  async release(lane: Lane): Promise<void> {
    const gpu = lane.spec.provider === 'cuda';
    const before = gpu ? await this.freeBytes() : null;
    try {
      await new LaneCalls(this.runtime, lane).release();
    } catch (thrown) {
      this.logger.debug({ err: thrown, lane: lane.id }, 'a lane could not be released');
    }
    const after = before === null ? null : await this.freeBytes();
    // On the CPU free memory says more about the rest of the machine than about one lane.
    this.memory.budget.release(lane.id, before === null || after === null ? null : after - before);
  }

  /** EVICTED, and out of this worker's memory once that is written. In the epoch that is current by now. */
  async forget(lane: Lane, trigger: LaneTrigger, reason: string): Promise<void> {
    await this.life.settled();
    lane.epoch = this.records.epoch;
    if (await this.write(this.records.move(lane, 'EVICTED', { trigger, reason }), lane)) this.registry.remove(lane);
  }

  private async freeBytes(): Promise<number | null> {
    try {
      return (await this.runtime.call('memory', {}, { timeoutMs: LIMITS.memory })).free;
    } catch {
      return null;
    }
  }

  /** @returns false where Redis refused it: the lane goes all the same, and {@link LaneUpkeep} writes that it has gone */
  private async write(written: Promise<void>, lane: Lane): Promise<boolean> {
    try {
      await written;
      return true;
    } catch (thrown) {
      if (thrown instanceof StaleEpochError) return true;
      this.logger.warn({ err: thrown, lane: lane.id, state: lane.state }, 'a lane that leaves could not be written');
      return false;
    }
  }
}
