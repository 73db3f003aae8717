import { Inject, Injectable } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import { judgeDeath, type LaneHolding, type Suspicion } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { IdentityService } from '../identity/identity.service.js';
import { LOGGER } from '../logger.js';
import { isProcessDeath, type ProcessDown } from '../ports.js';
import { WorkerRedis } from '../redis.provider.js';
import { Tunings } from '../tuning/tunings.js';
import type { Lane } from './lane.js';
import { LaneDrain } from './lane-drain.js';
import { LaneMemory } from './lane-memory.js';
import { LaneRecords, StaleEpochError } from './lane-records.js';
import { LaneRegistry } from './lane-registry.js';
import { RuntimeLife } from './runtime-life.js';

const MAX_RETRIES = 5;
const FIRST_WAIT_MS = 1_000;
const MOST_WAIT_MS = 30_000;

/** The lane cannot be here: says why, and needs no attempt. */
class Refused extends WarmlaneError {}

/** The memory for the lane is not there now. */
class NoMemory extends WarmlaneError {
  constructor(
    message: string,
    readonly never: boolean,
  ) {
    super('device-busy', message);
  }
}

/** Decides what becomes of a lane whose warming did not end in READY. */
@Injectable()
export class LaneFailures {
  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(LaneRecords) private readonly records: LaneRecords,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneDrain) private readonly drain: LaneDrain,
    @Inject(LaneMemory) private readonly memory: LaneMemory,
    @Inject(RuntimeLife) private readonly life: RuntimeLife,
    @Inject(Tunings) private readonly tunings: Tunings,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Throws where no attempt is to be made: the lane cannot be here, or it killed two processes in this environment. */
  async refuse(lane: Lane): Promise<void> {
    if (lane.spec.refusal !== null) throw new Refused('not-supported', lane.spec.refusal);
    if (lane.suspicion !== null) return;
    const entry = await this.redis.workers.getQuarantine(this.whereOf(lane));
    if (entry !== null) throw new Refused('device-unhealthy', entry.reason);
  }

  /** Books memory; throws where it is not there. */
  admit(lane: Lane, holding: LaneHolding): void {
    const { id, model, spec } = lane;
    const successor = this.registry.servingAt(lane.place) !== null;
    const request = { lane: id, model, ...holding, modelCap: spec.memoryCap, successor };
    const admission = this.memory.budget.admit(request);
    if (!admission.admitted) throw new NoMemory(admission.reason, admission.never);
  }

  /** It has become READY: nothing is held against it any more. */
  async clear(lane: Lane): Promise<void> {
    lane.suspicion = null;
    await this.redis.workers.clearQuarantine(this.whereOf(lane));
  }

  async handle(lane: Lane, thrown: unknown, at: { life: number; where: 'runtime' | 'trial' }): Promise<void> {
    lane.record = null;
    const death = isProcessDeath(thrown);
    if (death !== null && at.where === 'runtime') await this.life.over(at.life);
    await this.life.settled();
    const sameLife = this.life.current === at.life;
    if (sameLife) {
      await this.records.closeStep(lane);
      await this.drain.release(lane);
    } else this.memory.budget.release(lane.id, null);
    lane.epoch = this.records.epoch;
    const error = WarmlaneError.from(thrown);
    this.logger.warn({ err: thrown, lane: lane.id, shapeKey: lane.shapeKey, where: at.where }, 'warming failed');
    if (await this.takesBackWinner(lane, error, death)) await this.fail(lane, textOf(error));
    else if (lane.abort.signal.aborted) await this.drain.forget(lane, lane.trigger, lane.abortReason);
    else if (death !== null) await this.afterDeath(lane, death, at.where);
    else if (error instanceof NoMemory) await this.withoutMemory(lane, error);
    else if (!sameLife || error instanceof StaleEpochError)
      await this.records.move(lane, 'QUEUED', { trigger: 'restart' });
    else if (this.mayPass(error)) await this.later(lane, error);
    else await this.fail(lane, textOf(error));
  }

  /** Options of the tuner's that end a runtime, are refused or are wrong as a lane are not tried twice. */
  private async takesBackWinner(lane: Lane, error: WarmlaneError, death: ProcessDown | null): Promise<boolean> {
    if (lane.spec.tuned === null || lane.abort.signal.aborted) return false;
    if (death !== null) {
      if (death.external || death.planned || death.serving) return false;
      await this.tunings.reject(lane.spec, { outcome: 'crashed', reason: death.reason, signal: death.signal });
      return true;
    }
    const passing = this.mayPass(error) || error.code === 'canceled';
    if (passing || error instanceof NoMemory || error instanceof Refused) return false;
    await this.tunings.reject(lane.spec, { outcome: 'refused', reason: textOf(error), signal: null });
    return true;
  }

  private async afterDeath(lane: Lane, death: ProcessDown, where: 'runtime' | 'trial'): Promise<void> {
    const process = where === 'trial' ? 'a disposable runtime' : 'the runtime';
    const { external, serving } = death;
    const verdict = judgeDeath(lane.suspicion, { where, external, serving });
    if (verdict.verdict === 'trial-first') {
      // Sharing may have been what ended it: it goes without from here on. Of a request that is less likely.
      if (lane.sharesWeights && !serving)
        lane.ownWeights = `not shared: ${process} ended with shared weights: ${death.reason}`;
      const beside = serving ? ', while a request was being run' : '';
      await this.suspect(lane, verdict.suspicion, `${process} ended in its step${beside}: ${death.reason}`);
      return;
    }
    const reason = `quarantined in this environment: its steps ended two processes, last ${process}: ${death.reason}`;
    await this.redis.workers.setQuarantine(this.whereOf(lane), { reason, at: new Date().toISOString() });
    lane.suspicion = null;
    await this.fail(lane, `${reason}. Name the shape in a warm-up to have it tried again`);
  }

  /** Back into the queue, to be tried in a disposable process. */
  async suspect(lane: Lane, suspicion: Suspicion, reason: string): Promise<void> {
    lane.suspicion = suspicion;
    await this.records.move(lane, 'QUEUED', {
      trigger: 'restart',
      reason: `${reason}; tried next in a disposable one`,
    });
  }

  private async withoutMemory(lane: Lane, error: NoMemory): Promise<void> {
    lane.wantsMemory = !error.never;
    await this.fail(lane, error.message);
  }

  /** What other load or a passing fault may cause; anything that is no WarmlaneError (Redis refused a write) too. */
  private mayPass(error: WarmlaneError): boolean {
    const unknown = error.code === 'internal' && error.cause !== undefined;
    return error.retryable || unknown;
  }

  private async later(lane: Lane, error: WarmlaneError): Promise<void> {
    if (lane.retries >= MAX_RETRIES) {
      await this.fail(lane, `${textOf(error)} (tried ${MAX_RETRIES + 1} times)`);
      return;
    }
    lane.notBefore = performance.now() + Math.min(MOST_WAIT_MS, FIRST_WAIT_MS * 2 ** lane.retries);
    lane.retries += 1;
    await this.records.move(lane, 'QUEUED', { reason: `tried again: ${textOf(error)}` });
  }

  private async fail(lane: Lane, reason: string): Promise<void> {
    await this.records.closeStep(lane);
    await this.records.move(lane, 'FAILED', { reason });
    this.registry.servingAt(lane.place)?.successorFailed(performance.now());
  }

  private whereOf(lane: Lane): { environment: string; modelDigest: string; shapeKey: string } {
    const { environment } = this.identity;
    return { environment, modelDigest: lane.spec.held.files.digest, shapeKey: lane.shapeKey };
  }
}

function textOf(error: WarmlaneError): string {
  return error.hint === '' ? error.message : `${error.message}. ${error.hint}`;
}
