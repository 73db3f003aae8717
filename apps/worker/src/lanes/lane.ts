import {
  type BatchAxes,
  type CreateLaneParams,
  type LaneDoc,
  type LaneState,
  type LaneTrigger,
  newId,
  type ParsedOptions,
  rowsOf,
  type ServingRules,
  type TensorSpec,
  type WarmRecord,
} from '@warmlane/contracts';
import { LaneWatch, type Suspicion, successorPauseMs } from '@warmlane/lanes';
import type { TuningKey } from '@warmlane/redis';
import type { HeldVersion } from '../models/held-version.js';
import type { ReadyLane } from '../ports.js';

/** What a lane is made from; a lane with another one is another lane. */
export interface LaneSpec {
  held: HeldVersion;
  shapeKey: string;
  /** Which class queue it consumes once it is READY. */
  class: string;
  /** What the configuration allows beside the exact shape. */
  rules: ServingRules;
  /** By input, the bytes of one element with which it is padded. */
  fill: Record<string, number[]>;
  /** In the model's order, concrete dims. */
  inputs: TensorSpec[];
  outputs: string[];
  providers: CreateLaneParams['providers'];
  /** The first of `providers` that this device has. */
  provider: 'cpu' | 'cuda';
  fallback: CreateLaneParams['fallback'];
  options: ParsedOptions;
  /** The tuner's winner whose options these are, in place of those that were given; null for given ones. */
  tuned: { name: string; given: ParsedOptions; key: TuningKey } | null;
  /** Bytes that the model's lanes may take; null for no cap. */
  memoryCap: number | null;
  /** Why this device cannot have the lane; null where it can. */
  refusal: string | null;
}

/** Names a lane's place: one lane per place serves, a second one may be warming to succeed it. */
export function placeOf(lane: { model: string; version: string; shapeKey: string }): string {
  return `${lane.model}/${lane.version}/${lane.shapeKey}`;
}

/** One lane of this worker, in memory. Its document in Redis is written by LaneRecords alone. */
export class Lane {
  state: LaneState = 'QUEUED';
  since = new Date();
  reason = '';
  record: WarmRecord | null = null;
  watch: LaneWatch | null = null;
  /** Set while a death in one of its steps is not explained. */
  suspicion: Suspicion | null = null;
  /** True once it stays slow though it is right: a successor is made. */
  worn = false;
  /** Successors of it that failed one after the other. */
  failedSuccessors = 0;
  /** Before this time (performance.now) it is not found slow again: its last successor failed. */
  restsUntil = 0;
  /** Times that warming it failed for a reason that may pass. */
  retries = 0;
  /** True while it is FAILED for want of memory: tried again when some is given back. */
  wantsMemory = false;
  /** Whether its session was made, or was being made, with weights that it shares with other lanes. */
  sharesWeights = false;
  /** Why it must have weights of its own; null where it may share them. */
  ownWeights: string | null = null;
  /** Its record's steady figures say more about what else ran than about it: measured again in a quiet moment. */
  disturbed = false;
  /** Its last first run, ms; 0 before. */
  firstMs = 0;
  /** Runs served, for the order of re-warming. */
  traffic = 0;
  /** Not before this time (performance.now) is warming tried again. */
  notBefore = 0;
  /** Ends a warming that is not wanted any more; made anew for each. */
  abort = new AbortController();
  abortReason = '';
  /** Warm-ups on whose account it was tried: another one tries a FAILED lane again. */
  readonly triedFor = new Set<string>();

  constructor(
    readonly spec: LaneSpec,
    public trigger: LaneTrigger,
    public epoch: number,
    readonly priority: number,
    readonly addedAt: string,
    readonly id: string = newId(),
  ) {}

  get model(): string {
    return this.spec.held.name;
  }

  get version(): string {
    return this.spec.held.version;
  }

  get shapeKey(): string {
    return this.spec.shapeKey;
  }

  /** The state as it is now: an await may have changed it. */
  is(state: LaneState): boolean {
    return this.state === state;
  }

  get place(): string {
    return placeOf(this);
  }

  /** Sessions with other options are other lanes. */
  get optionsKey(): string {
    return optionsKeyOf(this.spec);
  }

  /** Where its batch lies, as far as that was proven; null: it takes its exact shape alone. */
  get batchAxes(): BatchAxes | null {
    return this.record?.batch?.verified === true ? this.spec.rules.batch : null;
  }

  /** Its runtime is gone, and it with it. Written by those who begin the next epoch. */
  lost(reason: string): void {
    this.state = 'QUEUED';
    this.since = new Date();
    this.trigger = 'restart';
    this.reason = reason;
    this.record = null;
    this.watch = null;
    this.worn = false;
    this.failedSuccessors = 0;
    this.restsUntil = 0;
  }

  /** It goes on, and is watched again; another successor is made where it is still slow after a pause, longer each time. */
  successorFailed(now: number): void {
    if (!this.worn || this.record === null) return;
    this.worn = false;
    this.failedSuccessors += 1;
    this.restsUntil = now + successorPauseMs(this.failedSuccessors);
    this.startWatch(this.record);
  }

  startWatch(record: WarmRecord): void {
    this.watch = new LaneWatch(record.steadyP50Ms);
  }

  toDoc(worker: string): LaneDoc {
    return {
      id: this.id,
      model: this.model,
      version: this.version,
      shapeKey: this.shapeKey,
      state: this.state,
      since: this.since.toISOString(),
      reason: this.reason,
      trigger: this.trigger,
      worker,
      epoch: this.epoch,
      record: this.record,
    };
  }

  toReady(): ReadyLane {
    const { inputs, outputs, rules } = this.spec;
    const axes = this.batchAxes;
    return {
      id: this.id,
      model: this.model,
      version: this.version,
      shapeKey: this.shapeKey,
      class: this.spec.class,
      inputs,
      outputs,
      epoch: this.epoch,
      p50Ms: this.record?.steadyP50Ms ?? 0,
      batch: axes === null ? null : { axes, size: rowsOf(axes, inputs) ?? 1 },
      pad: this.record?.padding?.verified === true ? rules.pad : null,
    };
  }
}

/** A lane that was proven for other rules serves under those: another yaml asks for another lane. */
export function rulesKeyOf({ rules }: Pick<LaneSpec, 'rules'>): string {
  return JSON.stringify([rules.batch, rules.pad]);
}

export function optionsKeyOf(spec: Pick<LaneSpec, 'providers' | 'fallback' | 'options'>): string {
  const sorted = (map: Record<string, string>) => Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1));
  const { provider, session, run } = spec.options;
  return JSON.stringify([spec.providers, spec.fallback, sorted(provider), sorted(session), sorted(run)]);
}
