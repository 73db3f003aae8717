import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import { isServing } from '@warmlane/lanes';
import type { Logger, StallMonitor } from '@warmlane/observability';
import { LOGGER, MONITOR } from '../logger.js';
import { RUNTIME, type RuntimePort } from '../ports.js';
import type { Lane } from './lane.js';
import { LaneCalls } from './lane-calls.js';
import { LaneDrain } from './lane-drain.js';
import { LaneFailures } from './lane-failures.js';
import { LaneMemory } from './lane-memory.js';
import { LaneRecords } from './lane-records.js';
import { LaneRegistry } from './lane-registry.js';
import { LaneTrial } from './lane-trial.js';
import { LaneWarmer } from './lane-warmer.js';
import { LaneWatcher } from './lane-watcher.js';
import { ListenerHub } from './listener-hub.js';
import { RuntimeLife } from './runtime-life.js';

/** After an error of the loop itself (Redis refused a write): it must not spin. */
const BREATH_MS = 1_000;

/**
 * Warms QUEUED lanes, one after the other: created side by side their arenas grow side by side (16 lanes 3.6 instead of
 * 1.9 GB), and each would measure its neighbour.
 */
@Injectable()
export class WarmQueue {
  private closing = false;
  private wakeUp: () => void = () => undefined;
  private current: Lane | null = null;
  private loop: Promise<void> | null = null;

  constructor(
    @Inject(RUNTIME) private readonly runtime: RuntimePort,
    @Inject(RuntimeLife) private readonly life: RuntimeLife,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneRecords) private readonly records: LaneRecords,
    @Inject(LaneWarmer) private readonly warmer: LaneWarmer,
    @Inject(LaneTrial) private readonly trial: LaneTrial,
    @Inject(LaneMemory) private readonly memory: LaneMemory,
    @Inject(LaneDrain) private readonly drain: LaneDrain,
    @Inject(LaneWatcher) private readonly watcher: LaneWatcher,
    @Inject(LaneFailures) private readonly failures: LaneFailures,
    @Inject(ListenerHub) private readonly hub: ListenerHub,
    @Inject(MONITOR) private readonly monitor: StallMonitor,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  start(): void {
    this.loop ??= this.run();
  }

  /** Something changed: look again now. */
  wake(): void {
    this.wakeUp();
  }

  /** The lane whose steps are under way. */
  isWarming(lane: Lane): boolean {
    return this.current === lane;
  }

  /** Begins no lane any more and gives up the current one at its next step. Resolves when it has. */
  async close(): Promise<void> {
    this.closing = true;
    this.current?.abort.abort();
    this.wake();
    await this.loop;
    await this.trial.closeShared();
  }

  private async run(): Promise<void> {
    while (!this.closing) {
      try {
        await this.life.settled();
        const lane = this.life.up ? this.registry.nextQueued(performance.now()) : null;
        if (lane !== null) {
          await this.warm(lane);
          continue;
        }
        await this.trial.closeShared();
        await this.idle();
      } catch (thrown) {
        this.logger.error({ err: thrown }, 'the warm-up queue stumbled');
        await this.idle(BREATH_MS);
      }
    }
  }

  private async idle(mostMs = 60_000): Promise<void> {
    const waitMs = this.life.up ? (this.registry.nextDelay(performance.now()) ?? mostMs) : mostMs;
    const timer = new AbortController();
    const woken = new Promise<void>((resolve) => {
      this.wakeUp = resolve;
    });
    await Promise.race([woken, delay(Math.max(1, Math.min(waitMs, mostMs)), undefined, timer).catch(() => undefined)]);
    timer.abort();
  }

  private async warm(lane: Lane): Promise<void> {
    const life = this.life.current;
    lane.abort = new AbortController();
    lane.epoch = this.records.epoch;
    this.current = lane;
    const where = { process: 'runtime' as 'runtime' | 'trial' };
    const leave = this.monitor.enter(`warm ${lane.place}`);
    try {
      await this.failures.refuse(lane);
      await this.tryFirst(lane, where);
      this.admit(lane);
      lane.record = await this.warmer.warm(lane);
      await this.readmit(lane);
      await this.enter(lane, life);
    } catch (thrown) {
      await this.failures.handle(lane, thrown, { life, where: where.process });
    } finally {
      this.current = null;
      leave();
    }
    if (isServing(lane.state)) await this.afterwards(lane);
  }

  /** In a disposable process first: a lane that is under suspicion, or whose need of memory is not known. */
  private async tryFirst(lane: Lane, where: { process: 'runtime' | 'trial' }): Promise<void> {
    const suspected = lane.suspicion?.trialFirst === true;
    if (!suspected && !this.memory.mustMeasure(lane)) return;
    where.process = 'trial';
    await this.memory.learn(lane, await this.trial.tryLane(lane, { alone: suspected }));
    where.process = 'runtime';
    if (lane.suspicion !== null) lane.suspicion = { ...lane.suspicion, trialFirst: false };
  }

  /** Throws where the memory for it is not there. A lane that is not known yet is booked once it is measured. */
  private admit(lane: Lane): void {
    const holding = this.memory.known(lane);
    if (holding !== null) this.failures.admit(lane, holding);
  }

  private async readmit(lane: Lane): Promise<void> {
    try {
      this.admit(lane);
    } catch (thrown) {
      await new LaneCalls(this.runtime, lane).release().catch(() => undefined);
      throw thrown;
    }
  }

  private async enter(lane: Lane, life: number): Promise<void> {
    const { record } = lane;
    if (lane.abort.signal.aborted || record === null) {
      throw new WarmlaneError('canceled', `warming of lane ${lane.id} was ended`);
    }
    // The runtime may have ended after the last step: then the lane is QUEUED again by those who handle that.
    if (this.life.current !== life) throw new WarmlaneError('worker-gone', 'the runtime ended', 'It is warmed again.');
    lane.startWatch(record);
    lane.retries = 0;
    await this.records.move(lane, 'READY');
    if (!lane.is('READY')) return;
    await this.hub.laneReady(lane.toReady());
    if (lane.suspicion !== null) await this.failures.clear(lane);
  }

  /** Its predecessor leaves now that it is there; the lane that was the newest before proves that it is untouched. */
  private async afterwards(lane: Lane): Promise<void> {
    for (const other of this.registry.at(lane.place)) {
      if (other !== lane) await this.drain.drain(other, lane.trigger, 'its successor is READY');
    }
    const neighbours = this.registry.serving.filter(
      (other) => other !== lane && other.model === lane.model && other.version === lane.version,
    );
    neighbours.sort((a, b) => b.since.getTime() - a.since.getTime());
    const [newest] = neighbours;
    if (newest === undefined || this.closing) return;
    await this.watcher
      .revisitNeighbour(newest)
      .catch((thrown: unknown) => this.logger.warn({ err: thrown, lane: newest.id }, 'a lane could not be revisited'));
  }
}
