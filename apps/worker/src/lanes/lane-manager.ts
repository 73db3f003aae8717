import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import {
  type LaneItem,
  type LaneItemsRun,
  type LaneRun,
  type LaneTrigger,
  type NamedTensor,
  parseOptionsByProvider,
  WarmlaneError,
} from '@warmlane/contracts';
import { isServing, isWarming, type WantedLane } from '@warmlane/lanes';
import type { Logger, StallMonitor } from '@warmlane/observability';
import { IdentityService } from '../identity/identity.service.js';
import { LOGGER, MONITOR } from '../logger.js';
import type { HeldVersion } from '../models/held-version.js';
import { HeldVersions } from '../models/held-versions.js';
import {
  type FallbackRun,
  type LaneListener,
  type LanesPort,
  type ProcessDown,
  type ReadyLane,
  RUNTIME,
  type RuntimePort,
} from '../ports.js';
import { Tunings } from '../tuning/tunings.js';
import { Fallback } from './fallback.js';
import { Lane, optionsKeyOf, placeOf, rulesKeyOf } from './lane.js';
import { LaneCalls } from './lane-calls.js';
import { LaneDrain } from './lane-drain.js';
import { LaneMemory } from './lane-memory.js';
import { LaneRecords } from './lane-records.js';
import { LaneRegistry } from './lane-registry.js';
import { laneSpecOf, providersOf } from './lane-spec.js';
import { LaneTrial } from './lane-trial.js';
import { LaneWatcher } from './lane-watcher.js';
import { ListenerHub } from './listener-hub.js';
import { RuntimeLife } from './runtime-life.js';
import { WarmQueue } from './warm-queue.js';

/** How long the end of the worker waits for the step of a lane that is being warmed. */
const STEP_MS = 4_000;

/** A lane that this worker is not to hold any more, and why. */
export interface Dismissal {
  lane: Lane;
  trigger: LaneTrigger;
  reason: string;
}

/** The lanes of this worker: makes and drains what the plan says, runs requests on them, outlives the runtime. */
@Injectable()
export class LaneManager implements LanesPort {
  constructor(
    @Inject(RUNTIME) private readonly runtime: RuntimePort,
    @Inject(RuntimeLife) private readonly life: RuntimeLife,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(HeldVersions) private readonly models: HeldVersions,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneRecords) private readonly records: LaneRecords,
    @Inject(LaneMemory) private readonly memory: LaneMemory,
    @Inject(LaneDrain) private readonly drain: LaneDrain,
    @Inject(LaneWatcher) private readonly watcher: LaneWatcher,
    @Inject(WarmQueue) private readonly queue: WarmQueue,
    @Inject(LaneTrial) private readonly trial: LaneTrial,
    @Inject(Fallback) private readonly fallback: Fallback,
    @Inject(Tunings) private readonly tunings: Tunings,
    @Inject(ListenerHub) private readonly hub: ListenerHub,
    @Inject(MONITOR) private readonly monitor: StallMonitor,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** After the first hello of the runtime and the claim of the id. */
  async begin(): Promise<void> {
    await this.life.begin({ ended: (down) => this.runtimeEnded(down), epochBegun: () => this.writeLost() });
    this.runtime.onUp(() => this.queue.wake());
    this.queue.start();
  }

  // ---- LanesPort ----------------------------------------------------------------------------------------------------

  listen(listener: LaneListener): void {
    this.hub.add(listener);
  }

  serving(): ReadyLane[] {
    return this.registry.serving.map((lane) => lane.toReady());
  }

  async runOn(
    laneId: string,
    inputs: NamedTensor[],
    outputs: string[],
    { timeoutMs }: { timeoutMs: number },
  ): Promise<LaneRun> {
    const lane = this.servingOrThrow(laneId);
    const leave = this.monitor.enter(`run ${lane.place}`);
    return await new LaneCalls(this.runtime, lane).serve(inputs, outputs, timeoutMs).finally(leave);
  }

  async runItems(
    laneId: string,
    items: LaneItem[],
    outputs: string[],
    { timeoutMs }: { timeoutMs: number },
  ): Promise<LaneItemsRun> {
    const lane = this.servingOrThrow(laneId);
    const leave = this.monitor.enter(`run ${items.length} items ${lane.place}`);
    const params = { axes: lane.batchAxes, outputs, poison: false, slots: true };
    return await new LaneCalls(this.runtime, lane).items(items, params, timeoutMs).finally(leave);
  }

  private servingOrThrow(laneId: string): Lane {
    const lane = this.registry.find(laneId);
    if (lane !== null && (isServing(lane.state) || lane.state === 'DRAINING')) return lane;
    throw new WarmlaneError('not-ready', `lane ${laneId} is gone`, 'Send the request again.');
  }

  observe(laneId: string, computeMs: number): void {
    const lane = this.registry.find(laneId);
    if (lane !== null) this.watcher.observe(lane, computeMs);
  }

  async fallbackRun(
    model: string,
    version: string,
    inputs: NamedTensor[],
    outputs: string[],
    { timeoutMs }: { timeoutMs: number },
  ): Promise<FallbackRun> {
    const held = this.heldOrThrow(model, version);
    this.watcher.serves();
    const leave = this.monitor.enter(`fallback ${model}/${version}`);
    return await this.fallback.run(held, inputs, outputs, timeoutMs).finally(leave);
  }

  async trialRun(
    model: string,
    version: string,
    inputs: NamedTensor[],
    outputs: string[],
    { timeoutMs }: { timeoutMs: number },
  ): Promise<LaneRun> {
    const held = this.heldOrThrow(model, version);
    const { provider } = this.identity;
    const options = parseOptionsByProvider(held.config.options)[provider];
    return await this.trial.runAlone(
      { held, providers: providersOf(held, provider), options },
      inputs,
      outputs,
      timeoutMs,
    );
  }

  private heldOrThrow(model: string, version: string): HeldVersion {
    const held = this.models.find(model, version);
    if (held !== null) return held;
    throw new WarmlaneError('not-ready', `this worker does not hold ${model}/${version}`, 'Send the request again.');
  }

  // ---- what the reconciler asks for -------------------------------------------------------------------------------

  /** Makes the lanes that are wanted and not there; a FAILED one again where a new warm-up names it. */
  async want(wanted: readonly WantedLane[]): Promise<void> {
    for (const { model, version, entry } of wanted) {
      const held = this.models.find(model, version);
      if (held === null) continue;
      const spec = await this.tunings.applied(laneSpecOf(held, entry, this.identity.provider), entry);
      const lanes = this.registry.at(placeOf({ model, version, shapeKey: entry.shapeKey }));
      // The newest is what counts: an older one is on its way out.
      const lane = lanes.at(-1);
      // The yaml was read again: its samples and tolerance count from the next check on.
      for (const one of lanes) if (one.spec.held.files.digest === held.files.digest) one.spec.held = held;
      const changed = lane !== undefined && (isOther(lane.spec, spec) || lane.worn);
      if (lane === undefined || (changed && isServing(lane.state))) {
        await this.make(spec, entry, lanes.length > 0);
      } else if (lane.state === 'FAILED') {
        const serving = this.registry.servingAt(lane.place);
        if (changed && serving !== null && optionsKeyOf(serving.spec) === optionsKeyOf(spec)) {
          await this.drain.forget(lane, 'plan', 'the lane before it has the options that are wanted');
          continue;
        }
        const again = entry.warmups.some((id) => !lane.triedFor.has(id));
        if (again || changed || this.hasRoomNow(lane) || (await this.isDueAgain(lane, serving))) {
          this.registry.remove(lane);
          await this.make(spec, entry, false, lane);
        }
      }
      const now = this.registry.at(placeOf({ model, version, shapeKey: entry.shapeKey })).at(-1);
      for (const id of entry.warmups) now?.triedFor.add(id);
    }
    this.queue.wake();
  }

  private async make(
    spec: Lane['spec'],
    entry: WantedLane['entry'],
    successor: boolean,
    before: Lane | null = null,
  ): Promise<void> {
    const trigger: LaneTrigger = before !== null || entry.warmups.length > 0 ? 'warmup' : 'plan';
    const id = before?.id ?? (successor ? undefined : await this.records.formerId(spec));
    const lane = new Lane(spec, trigger, this.identity.epoch, entry.priority, entry.addedAt, id);
    // Whoever names a quarantined shape again has it tried, in a disposable process first.
    const quarantined = before !== null && (await this.records.isQuarantined(lane));
    if (quarantined) lane.suspicion = { deaths: 1, trialFirst: true };
    else lane.suspicion = await this.records.openSuspicion(lane);
    this.registry.add(lane);
    await this.records.move(lane, 'QUEUED', { trigger });
  }

  /** The lane that it was to succeed was found slow again; one that ended processes is tried again only where it is named. */
  private async isDueAgain(lane: Lane, serving: Lane | null): Promise<boolean> {
    if (serving?.worn !== true) return false;
    if (!(await this.records.isQuarantined(lane))) return true;
    serving.successorFailed(performance.now());
    return false;
  }

  private hasRoomNow(lane: Lane): boolean {
    if (!lane.wantsMemory) return false;
    const holding = this.memory.known(lane);
    if (holding === null) return false;
    const { model, spec } = lane;
    return this.memory.budget.fits({ lane: lane.id, model, ...holding, modelCap: spec.memoryCap, successor: false });
  }

  /** Ends lanes: serving ones drain, warming ones stop at their next step, the others are forgotten. Goes on by itself. */
  dismiss(dismissals: readonly Dismissal[]): void {
    for (const { lane, trigger, reason } of dismissals) {
      this.dismissOne(lane, trigger, reason).catch((thrown: unknown) =>
        this.logger.error({ err: thrown, lane: lane.id }, 'a lane could not be ended in order'),
      );
    }
  }

  private async dismissOne(lane: Lane, trigger: LaneTrigger, reason: string): Promise<void> {
    if (isServing(lane.state)) await this.drain.drain(lane, trigger, reason);
    else if (this.queue.isWarming(lane)) {
      lane.trigger = trigger;
      lane.abortReason = reason;
      lane.abort.abort();
    } else if (isWarming(lane.state) || lane.state === 'FAILED') await this.drain.forget(lane, trigger, reason);
  }

  /** Everything out, in order; for the end of the worker. */
  async close(limitMs: number): Promise<void> {
    // A step that is under way cannot be ended; it is left behind where it takes long.
    await Promise.race([this.queue.close(), delay(STEP_MS, undefined, { ref: false })]);
    await Promise.all(
      this.registry.all.map((lane) =>
        isServing(lane.state)
          ? this.drain.drain(lane, 'shutdown', 'the worker ends', limitMs)
          : lane.state === 'FAILED'
            ? Promise.resolve()
            : this.drain.forget(lane, 'shutdown', 'the worker ends'),
      ),
    );
  }

  // ---- the runtime's death ------------------------------------------------------------------------------------------

  /** At once: nothing serves any more. */
  private runtimeEnded(down: ProcessDown): void {
    this.memory.budget.reset();
    for (const lane of this.registry.all) {
      if (lane.state === 'DRAINING') this.hub.laneGone(lane.toReady());
      if (!isServing(lane.state)) continue;
      this.hub.laneGone(lane.toReady());
      lane.lost(`the runtime ended: ${down.reason}`);
    }
  }

  /** In the new epoch: what was lost is QUEUED again, in the order of its traffic. */
  private async writeLost(): Promise<void> {
    for (const lane of this.registry.all) {
      if (lane.state !== 'QUEUED' || this.queue.isWarming(lane)) continue;
      lane.epoch = this.identity.epoch;
      await this.records.restore(lane);
    }
    this.logger.info({ epoch: this.identity.epoch, lanes: this.registry.counts() }, 'epoch begun');
    this.queue.wake();
  }
}

/** What a lane was made from is not what is asked for now. */
function isOther(made: Lane['spec'], wanted: Lane['spec']): boolean {
  return optionsKeyOf(made) !== optionsKeyOf(wanted) || rulesKeyOf(made) !== rulesKeyOf(wanted);
}
