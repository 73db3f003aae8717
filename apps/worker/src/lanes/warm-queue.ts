import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import { isServing, isWarming } from '@warmlane/lanes';
import type { Logger, StallMonitor } from '@warmlane/observability';
import { GROUP } from '../limits.js';
import { LOGGER, MONITOR } from '../logger.js';
import { RUNTIME } from '../ports.js';
import type { Lane } from './lane.js';
import { LaneCalls, type LaneHost } from './lane-calls.js';
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
import type { WarmAttempt } from './warm-attempt.js';

/** After an error of the loop itself (Redis refused a write): it must not spin. */
const BREATH_MS = 1_000;
const IDLE_MS = 60_000;

/**
 * Warms QUEUED lanes group by group: the lanes of a group are created side by side, then captured one after the other. On a
 * GPU a group is proven, lane by lane, while the next one is being created: of that most is the host's work. On a CPU, and
 * beside requests, one lane is finished before the next is begun.
 */
@Injectable()
export class WarmQueue {
  private readonly closed = new AbortController();
  private wakeUp: () => void = () => undefined;
  /** Those that were begun and are neither READY nor given up yet. */
  private readonly current = new Set<Lane>();
  /** Groups begun and captured so far: lanes that were proven beside one of them were disturbed. */
  private begun = 0;
  private captured = 0;
  private loop: Promise<void> | null = null;
  /** Redis refused what was to be written of a lane. */
  private stumbled = false;

  constructor(
    @Inject(RUNTIME) private readonly runtime: LaneHost,
    @Inject(RuntimeLife) private readonly life: Pick<RuntimeLife, 'current' | 'up' | 'settled'>,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneRecords) private readonly records: Pick<LaneRecords, 'epoch' | 'move'>,
    @Inject(LaneWarmer) private readonly warmer: Pick<LaneWarmer, 'create' | 'capture' | 'prove'>,
    @Inject(LaneTrial) private readonly trial: Pick<LaneTrial, 'tryLane' | 'closeShared'>,
    @Inject(LaneMemory) private readonly memory: Pick<LaneMemory, 'known' | 'learn' | 'mustMeasure'>,
    @Inject(LaneDrain) private readonly drain: Pick<LaneDrain, 'drain' | 'release'>,
    @Inject(LaneWatcher) private readonly watcher: Pick<LaneWatcher, 'quietMs' | 'revisitNeighbour'>,
    @Inject(LaneFailures) private readonly failures: Pick<LaneFailures, 'refuse' | 'admit' | 'handle' | 'clear'>,
    @Inject(ListenerHub) private readonly hub: Pick<ListenerHub, 'laneReady'>,
    @Inject(MONITOR) private readonly monitor: Pick<StallMonitor, 'enter'>,
    @Inject(LOGGER) private readonly logger: Pick<Logger, 'warn' | 'error'>,
  ) {}

  start(): void {
    this.loop ??= this.run();
  }

  /** Something changed: look again now. */
  wake(): void {
    this.wakeUp();
  }

  /** A lane whose steps are under way, or that waits between two of them. */
  isWarming(lane: Lane): boolean {
    return this.current.has(lane);
  }

  /** Begins no lane any more and gives up the current ones at their next step. Resolves when it has. */
  async close(): Promise<void> {
    this.closed.abort();
    for (const lane of this.current) lane.abort.abort();
    this.wake();
    await this.loop;
    await this.trial.closeShared();
  }

  private get closing(): boolean {
    return this.closed.signal.aborted;
  }

  private async run(): Promise<void> {
    while (!this.closing) {
      try {
        await this.life.settled();
        if (this.next() !== null) {
          await this.warmAll();
          if (this.stumbled) await this.breathe();
          this.stumbled = false;
          continue;
        }
        await this.trial.closeShared();
        await this.idle();
      } catch (thrown) {
        this.logger.error({ err: thrown }, 'the warm-up queue stumbled');
        await this.breathe();
      }
    }
  }

  /** The whole of it, whatever is due and whoever wakes the queue; only its end is not held up. */
  private async breathe(): Promise<void> {
    await delay(BREATH_MS, undefined, { signal: this.closed.signal }).catch(() => undefined);
  }

  private async idle(): Promise<void> {
    // Closed since the loop looked last: nobody wakes it any more.
    if (this.closing) return;
    const waitMs = this.life.up ? (this.registry.nextDelay(performance.now()) ?? IDLE_MS) : IDLE_MS;
    const timer = new AbortController();
    const woken = new Promise<void>((resolve) => {
      this.wakeUp = resolve;
    });
    await Promise.race([woken, delay(Math.max(1, Math.min(waitMs, IDLE_MS)), undefined, timer).catch(() => undefined)]);
    timer.abort();
  }

  private next(): Lane | null {
    return this.closing || !this.life.up ? null : this.registry.nextQueued(performance.now(), this.current);
  }

  // ---- groups -------------------------------------------------------------------------------------------------------

  /** Until nothing is due, or Redis refuses what has to be written. */
  private async warmAll(): Promise<void> {
    let proving = Promise.resolve();
    for (let lane = this.next(); lane !== null && !this.stumbled; lane = this.next()) {
      if (this.waitsForProofs(lane)) await proving;
      this.begun += 1;
      const group = await this.createGroup();
      for (const attempt of group) await this.guarded(attempt, () => this.capture(attempt));
      this.captured += 1;
      proving = proving.then(() => this.proveGroup(group));
      // A successor stands in the reserve of memory until its predecessor has left: others would be refused meanwhile.
      if (group.some((attempt) => this.registry.servingAt(attempt.lane.place) !== null)) await proving;
    }
    await proving;
  }

  /** One that is tried elsewhere or succeeds another goes by itself; a CPU has no time to spare, nor has a GPU that serves. */
  private waitsForProofs(lane: Lane): boolean {
    const busy = lane.spec.provider === 'cpu' || this.watcher.quietMs < GROUP.quietMs;
    return busy || this.goesAlone(lane) || this.current.size >= GROUP.mostUnproven;
  }

  private async createGroup(): Promise<WarmAttempt[]> {
    const group: WarmAttempt[] = [];
    const creating: Promise<void>[] = [];
    for (let lane = this.next(); lane !== null && this.joins(lane, group); lane = this.next()) {
      const attempt = this.begin(lane);
      group.push(attempt);
      creating.push(this.guarded(attempt, () => this.create(attempt)));
    }
    await Promise.all(creating);
    return group;
  }

  private joins(lane: Lane, group: readonly WarmAttempt[]): boolean {
    const [first] = group;
    if (first === undefined) return true;
    return group.length < GROUP.lanes && !this.waitsForProofs(lane) && !this.goesAlone(first.lane);
  }

  /** Two at a time: while one is compared in this process, the other one is measured. Never rejects. */
  private async proveGroup(group: readonly WarmAttempt[]): Promise<void> {
    const waiting = [...group];
    const proveInTurn = async (): Promise<void> => {
      for (let attempt = waiting.shift(); attempt !== undefined; attempt = waiting.shift()) {
        await this.proveOne(attempt);
      }
    };
    await Promise.all(Array.from({ length: GROUP.proofs }, proveInTurn));
    const added = group.map(({ lane }) => lane).filter((lane) => isServing(lane.state));
    try {
      for (const lane of added) await this.drainPredecessors(lane);
      await this.revisitNeighbours(added);
    } catch (thrown) {
      this.logger.error({ err: thrown }, 'the warm-up queue stumbled');
      this.stumbled = true;
    }
  }

  private async proveOne(attempt: WarmAttempt): Promise<void> {
    const { captured } = this;
    await this.guarded(attempt, () => this.prove(attempt));
    attempt.lane.disturbed ||= this.begun > captured;
  }

  /** One that is tried elsewhere first, and a successor: the reserve of memory has room for one. */
  private goesAlone(lane: Lane): boolean {
    return this.mustTry(lane) || this.registry.servingAt(lane.place) !== null;
  }

  private begin(lane: Lane): WarmAttempt {
    lane.abort = new AbortController();
    lane.epoch = this.records.epoch;
    this.current.add(lane);
    const leave = this.monitor.enter(`warm ${lane.place}`);
    return { lane, life: this.life.current, where: 'runtime', created: null, standing: null, over: false, leave };
  }

  /** A part of an attempt; never rejects. One that fails is over: what becomes of its lane is decided at once. */
  private async guarded(attempt: WarmAttempt, part: () => Promise<void>): Promise<void> {
    const { lane, life } = attempt;
    if (attempt.over) return;
    try {
      // Nothing is left of a lane whose runtime ended while it waited for its turn.
      if (this.life.current !== life) throw runtimeEnded();
      await part();
    } catch (thrown) {
      await this.failures.handle(lane, thrown, { life, where: attempt.where }).catch(async (error: unknown) => {
        this.logger.error({ err: error, lane: lane.id }, 'the warm-up queue stumbled');
        this.stumbled = true;
        await this.setBack(lane);
      });
      this.end(attempt);
    }
  }

  /** What became of it could not be written: left in the midst of its steps, it would never be begun again. */
  private async setBack(lane: Lane): Promise<void> {
    if (lane.is('QUEUED') || !(isWarming(lane.state) || isServing(lane.state))) return;
    lane.lost('what became of its warm-up could not be written');
    await this.drain.release(lane);
  }

  private end(attempt: WarmAttempt): void {
    attempt.over = true;
    this.current.delete(attempt.lane);
    attempt.leave();
  }

  // ---- its parts ----------------------------------------------------------------------------------------------------

  private async create(attempt: WarmAttempt): Promise<void> {
    const { lane } = attempt;
    await this.failures.refuse(lane);
    await this.tryFirst(attempt);
    this.admit(lane);
    attempt.created = await this.warmer.create(lane);
  }

  private async capture(attempt: WarmAttempt): Promise<void> {
    if (attempt.created !== null) attempt.standing = await this.warmer.capture(attempt.lane, attempt.created);
  }

  private async prove(attempt: WarmAttempt): Promise<void> {
    const { lane, standing } = attempt;
    if (standing === null) return;
    lane.record = await this.warmer.prove(lane, standing);
    await this.readmit(lane);
    await this.enter(lane, attempt.life);
    this.end(attempt);
  }

  private async drainPredecessors(lane: Lane): Promise<void> {
    for (const other of this.registry.at(lane.place)) {
      if (other !== lane) await this.drain.drain(other, lane.trigger, 'its successor is READY');
    }
  }

  /** A lane that is under suspicion, or whose need of memory is not known. */
  private mustTry(lane: Lane): boolean {
    return lane.suspicion?.trialFirst === true || this.memory.mustMeasure(lane);
  }

  /** In a disposable process first. */
  private async tryFirst(attempt: WarmAttempt): Promise<void> {
    const { lane } = attempt;
    if (!this.mustTry(lane)) return;
    attempt.where = 'trial';
    const alone = lane.suspicion?.trialFirst === true;
    await this.memory.learn(lane, await this.trial.tryLane(lane, { alone }));
    attempt.where = 'runtime';
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
    if (this.life.current !== life) throw runtimeEnded();
    lane.startWatch(record);
    lane.retries = 0;
    await this.records.move(lane, 'READY');
    if (!lane.is('READY')) return;
    await this.hub.laneReady(lane.toReady());
    if (lane.suspicion !== null) await this.failures.clear(lane);
  }

  /** Of each model that has new lanes: the lane that was the newest before proves that it is untouched. */
  private async revisitNeighbours(added: readonly Lane[]): Promise<void> {
    const versions = new Map(added.map((lane) => [`${lane.model}/${lane.version}`, lane]));
    for (const { model, version } of versions.values()) {
      const neighbours = this.registry.serving.filter(
        (other) => other.model === model && other.version === version && !added.includes(other),
      );
      neighbours.sort((a, b) => b.since.getTime() - a.since.getTime());
      const [newest] = neighbours;
      if (newest === undefined || this.closing) continue;
      await this.watcher
        .revisitNeighbour(newest)
        .catch((thrown: unknown) =>
          this.logger.warn({ err: thrown, lane: newest.id }, 'a lane could not be revisited'),
        );
    }
  }
}

function runtimeEnded(): WarmlaneError {
  return new WarmlaneError('worker-gone', 'the runtime ended', 'It is warmed again.');
}
