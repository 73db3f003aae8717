import { Inject, Injectable } from '@nestjs/common';
import { type NamedTensor, parseShapeKey } from '@warmlane/contracts';
import { isWarming } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { LOGGER } from '../logger.js';
import { type HeldVersion, versionName } from '../models/held-version.js';
import { RUNTIME, type RuntimePort } from '../ports.js';
import { WorkerRedis } from '../redis.provider.js';
import { Fallback } from './fallback.js';
import { LaneMemory } from './lane-memory.js';
import { LaneRegistry } from './lane-registry.js';
import { LaneWatcher } from './lane-watcher.js';
import { QuietMeasure } from './quiet-measure.js';
import { elementsOf } from './revisit.js';
import { Verifier } from './verifier.js';

/** Without a request for so long a planned restart of the runtime disturbs nobody. */
const QUIET_MS = 10_000;
/** After so long a planned restart takes the first short pause. */
const PATIENCE_MS = 600_000;
const SHORT_PAUSE_MS = 500;

/** What is done while no lane is being warmed: fallbacks are proven, lanes measured again, lost memory is got back. */
@Injectable()
export class IdleWork {
  private busy = false;
  /** Since when a planned restart is due (performance.now), or null. */
  private dueSince: number | null = null;
  /** Versions whose fallback could not be proven beforehand: their first cold request tries again. */
  private readonly refused = new WeakSet<HeldVersion>();

  constructor(
    @Inject(RUNTIME) private readonly runtime: Pick<RuntimePort, 'renew'>,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneMemory) private readonly memory: Pick<LaneMemory, 'budget'>,
    @Inject(LaneWatcher) private readonly watcher: Pick<LaneWatcher, 'quietMs'>,
    @Inject(QuietMeasure) private readonly quietMeasure: Pick<QuietMeasure, 'measureDue'>,
    @Inject(Fallback) private readonly fallback: Pick<Fallback, 'unused' | 'drop' | 'isPrepared' | 'prepare'>,
    @Inject(Verifier) private readonly verifier: Pick<Verifier, 'drop' | 'samplesOf'>,
    @Inject(WorkerRedis) private readonly redis: { readonly plans: Pick<WorkerRedis['plans'], 'entries'> },
    @Inject(LOGGER) private readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>,
  ) {}

  /** Starts what is due, one thing at a time; goes on by itself. */
  look(serving: readonly HeldVersion[]): void {
    if (this.busy || this.registry.all.some((lane) => isWarming(lane.state))) return;
    this.busy = true;
    this.work(serving)
      .catch((thrown: unknown) => this.logger.error({ err: thrown }, 'work in an idle moment failed'))
      .finally(() => {
        this.busy = false;
      });
  }

  private async work(serving: readonly HeldVersion[]): Promise<void> {
    for (const held of this.fallback.unused(serving)) {
      await this.fallback.drop(held);
      // The reference knows bytes only.
      const { digest } = held.files;
      if (!serving.some(({ files }) => files.digest === digest)) await this.verifier.drop(held);
    }
    const next = serving.find((held) => !this.fallback.isPrepared(held) && !this.refused.has(held));
    if (next !== undefined) await this.prepare(next);
    else await this.quietMeasure.measureDue();
    if (this.restartNow() && next === undefined) await this.renewRuntime();
  }

  /**
   * Whether the runtime is to be restarted now for memory it does not give back. Where traffic never pauses so long, a short
   * pause has to do in the end: every lane that is made anew would lack that memory.
   */
  private restartNow(): boolean {
    if (!this.memory.budget.restartDue) {
      this.dueSince = null;
      return false;
    }
    this.dueSince ??= performance.now();
    const patient = performance.now() - this.dueSince < PATIENCE_MS;
    return this.watcher.quietMs > (patient ? QUIET_MS : SHORT_PAUSE_MS);
  }

  /** With the smallest shape of its plan; a model without one is proven with its first cold request. */
  private async prepare(held: HeldVersion): Promise<void> {
    try {
      const sample = await this.smallestSample(held);
      if (sample === null) this.refused.add(held);
      else await this.fallback.prepare(held, sample);
    } catch (thrown) {
      this.refused.add(held);
      this.logger.warn({ err: thrown, model: versionName(held) }, 'the fallback of a model could not be proven');
    }
  }

  private async smallestSample(held: HeldVersion): Promise<NamedTensor[] | null> {
    const entries = await this.redis.plans.entries(held.name, held.version);
    const [smallest] = entries
      .map((entry) => parseShapeKey(entry.shapeKey))
      .sort((a, b) => elementsOf(a) - elementsOf(b));
    if (smallest === undefined) return null;
    return (await this.verifier.samplesOf(held, smallest)).samples[0]?.inputs ?? null;
  }

  private async renewRuntime(): Promise<void> {
    const { lost, limit } = this.memory.budget;
    this.logger.info(
      { lostBytes: lost, budgetBytes: limit },
      'the runtime is restarted for memory it does not give back',
    );
    await this.runtime.renew();
  }
}
