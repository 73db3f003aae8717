import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { newId, WarmlaneError } from '@warmlane/contracts';
import { isSettled, type TuningTraits, tuningTraits, type WantedLane } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { TUNING_CLAIM_RENEW_MS, TUNING_CLAIM_TTL_MS } from '@warmlane/redis';
import { IdentityService } from '../identity/identity.service.js';
import { placeOf } from '../lanes/lane.js';
import { LaneMemory } from '../lanes/lane-memory.js';
import { LaneRegistry } from '../lanes/lane-registry.js';
import { laneSpecOf } from '../lanes/lane-spec.js';
import { TrialTurn } from '../lanes/trial-turn.js';
import { Verifier } from '../lanes/verifier.js';
import { LOGGER } from '../logger.js';
import { type HeldVersion, versionName } from '../models/held-version.js';
import { HeldVersions } from '../models/held-versions.js';
import { graphOf } from '../models/model-graph.js';
import { RUNTIME, type RuntimePort, TRIALS, type TrialsPort } from '../ports.js';
import { WorkerRedis } from '../redis.provider.js';
import { WORKER_CONFIG, type WorkerConfig } from '../worker.config.js';
import { Pace } from './pace.js';
import { TuningRun } from './tuning-run.js';
import type { TuningTarget } from './tuning-target.js';
import { Tunings } from './tunings.js';

/** After a tuning that could not be finished (the reference ended, Redis refused a write). */
const TRY_AGAIN_MS = 30_000;
const CLOSE_MS = 3_000;
/** Trials get so much at least, however full the budget is: less would refuse every candidate. */
const LEAST_TRIAL_BYTES = 512 * 2 ** 20;

/** Shapes of one model with the same given options: their trials share processes. */
type TargetGroup = [TuningTarget, ...TuningTarget[]];

/**
 * Tunes, one model after the other and in the background, the shapes that ask for it and have no winner in this
 * environment yet. Lanes come first: a shape is tuned once its lane is settled with the options that are given.
 */
@Injectable()
export class Tuner {
  private readonly abort = new AbortController();
  private running: Promise<void> | null = null;
  /** By version, performance.now: not tried before. */
  private readonly notBefore = new Map<string, number>();

  constructor(
    @Inject(Tunings) private readonly tunings: Tunings,
    @Inject(Pace) private readonly pace: Pace,
    @Inject(TrialTurn) private readonly turn: TrialTurn,
    @Inject(TRIALS) private readonly trials: TrialsPort,
    @Inject(RUNTIME) private readonly runtime: RuntimePort,
    @Inject(Verifier) private readonly verifier: Verifier,
    @Inject(HeldVersions) private readonly models: HeldVersions,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneMemory) private readonly memory: LaneMemory,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(WORKER_CONFIG) private readonly config: WorkerConfig,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Starts what is due; goes on by itself. @param wanted the lanes that this worker should hold */
  look(wanted: readonly WantedLane[]): void {
    if (this.running !== null || this.abort.signal.aborted) return;
    this.running = this.work(wanted)
      .catch((thrown: unknown) => this.logger.error({ err: thrown }, 'the tuner stumbled; it looks again'))
      .finally(() => {
        this.running = null;
      });
  }

  /** Ends the trial under way: its process is killed, nothing of it is recorded. Resolves once all is over, or soon. */
  async close(): Promise<void> {
    this.abort.abort();
    // A run of the reference cannot be ended; what comes of it is not used.
    await Promise.race([this.running, delay(CLOSE_MS, undefined, { ref: false })]);
  }

  private async work(wanted: readonly WantedLane[]): Promise<void> {
    for (const group of this.groups(wanted)) {
      const { held } = group[0].spec;
      const open: TuningTarget[] = [];
      let takenBytes = 0;
      for (const target of group) {
        const done = await this.tunings.done(target.key);
        if (done === null) open.push(target);
        else takenBytes += done.candidates.find(({ name }) => name === done.chosen)?.memoryBytes ?? 0;
      }
      const [first, ...others] = open;
      if (first === undefined || !open.every((target) => this.isSettled(target))) continue;
      if (performance.now() < (this.notBefore.get(versionName(held)) ?? 0)) continue;
      await this.tune([first, ...others], takenBytes);
    }
  }

  /** By version and given options. */
  private groups(wanted: readonly WantedLane[]): TargetGroup[] {
    const groups = new Map<string, TargetGroup>();
    for (const { model, version, entry } of wanted) {
      const held = this.models.find(model, version);
      if (held === null) continue;
      const spec = laneSpecOf(held, entry, this.identity.provider);
      if (!this.tunings.asksFor(spec, entry)) continue;
      const target = this.tunings.targetOf(spec);
      const name = `${versionName(held)} ${target.key.basis}`;
      const group = groups.get(name);
      if (group === undefined) groups.set(name, [target]);
      else group.push(target);
    }
    return [...groups.values()];
  }

  private isSettled({ spec }: TuningTarget): boolean {
    const { name: model, version } = spec.held;
    const lane = this.registry.at(placeOf({ model, version, shapeKey: spec.shapeKey })).at(-1);
    return lane !== undefined && isSettled(lane.state);
  }

  private async tune(targets: TargetGroup, takenBytes: number): Promise<void> {
    const [{ key, spec }] = targets;
    const { tunings: store } = this.redis;
    const token = newId();
    if (!(await store.claim(key, token))) return;
    const claim = new ClaimKeeper(() => store.claim(key, token), this.abort.signal);
    const version = versionName(spec.held);
    try {
      this.logger.info({ model: version, shapes: targets.length }, 'tuning begins');
      const traits = await this.traitsOf(spec.held);
      const { worker, device } = { worker: this.identity.id, device: this.runtime.hello?.device ?? '' };
      const run = new TuningRun(
        {
          store,
          verifier: this.verifier,
          trials: this.trials,
          turn: this.turn,
          pace: this.pace,
          logger: this.logger,
        },
        {
          ...{ worker, device, traits, token, takenBytes },
          signal: claim.signal,
          budgetMs: this.config.tuneBudgetMs,
          candidateMs: this.config.tuneCandidateMs,
          preparedModels: this.memory.preparedModels,
          memoryBytes: () => this.freeBytes(),
        },
        targets,
      );
      await run.run();
      this.tunings.readAgain();
    } catch (thrown) {
      this.notBefore.set(version, performance.now() + TRY_AGAIN_MS);
      const { code } = WarmlaneError.from(thrown);
      if (code !== 'canceled') this.logger.warn({ err: thrown, model: version }, 'a tuning is tried again later');
      // This worker lives: nothing is held against the trial that was open.
      await store.putStep(key, token, null).catch(() => undefined);
    } finally {
      claim.stop();
      await store.release(key, token).catch(() => undefined);
    }
  }

  private async traitsOf(held: HeldVersion): Promise<TuningTraits> {
    const { provider } = this.identity;
    const cpus = Number(this.runtime.hello?.environment.cpus ?? '1');
    return tuningTraits({ provider, cpus }, held.metadata, await graphOf(held.files.modelPath));
  }

  private freeBytes(): number {
    const { limit, used, lost } = this.memory.budget;
    return Math.max(LEAST_TRIAL_BYTES, limit - used - lost);
  }
}

/** Renews the right to tune while the tuning lasts; its signal ends the tuning once the right is lost. */
class ClaimKeeper {
  private readonly lost = new AbortController();
  private readonly timer: NodeJS.Timeout;
  private renewedAt = performance.now();
  readonly signal: AbortSignal;

  constructor(renew: () => Promise<boolean>, ending: AbortSignal) {
    this.signal = AbortSignal.any([this.lost.signal, ending]);
    this.timer = setInterval(() => {
      renew().then(
        (kept) => {
          if (kept) this.renewedAt = performance.now();
          else this.lost.abort();
        },
        () => {
          if (performance.now() - this.renewedAt > TUNING_CLAIM_TTL_MS) this.lost.abort();
        },
      );
    }, TUNING_CLAIM_RENEW_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }
}
