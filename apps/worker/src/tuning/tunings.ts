import { Inject, Injectable } from '@nestjs/common';
import { newId, type PlanEntry, type TuningDoc, type TuningOutcome } from '@warmlane/contracts';
import { incumbentOf, isRight, optionsOfChoice } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import type { TuningKey } from '@warmlane/redis';
import { IdentityService } from '../identity/identity.service.js';
import type { LaneSpec } from '../lanes/lane.js';
import { LOGGER } from '../logger.js';
import { WorkerRedis } from '../redis.provider.js';
import { type TuningTarget, targetOf } from './tuning-target.js';

/** A tuning in memory is read again after so long: its notice may be lost. */
const READ_AGAIN_MS = 30_000;
/** How often a tuning in use is told to live on. */
const TOUCH_EVERY_MS = 3_600_000;

interface Known {
  doc: TuningDoc;
  readAt: number;
  touchedAt: number;
}

/** The finished tunings of this worker's environment, and the options that lanes have by them. */
@Injectable()
export class Tunings {
  private readonly known = new Map<string, Known>();

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Whether the tuner chooses the options of a shape: by the yaml, or by the warm-up that named it last. */
  asksFor({ held, refusal }: LaneSpec, entry: Pick<PlanEntry, 'tune'>): boolean {
    return refusal === null && (held.config.tune || entry.tune);
  }

  targetOf(spec: LaneSpec): TuningTarget {
    return targetOf(spec, this.identity.environment);
  }

  /** The lane as the stored winner makes it; as it is where there is none yet, or where tuning is not asked for. */
  async applied(spec: LaneSpec, entry: Pick<PlanEntry, 'tune'>): Promise<LaneSpec> {
    if (!this.asksFor(spec, entry)) return spec;
    const { key } = this.targetOf(spec);
    const doc = await this.done(key);
    const chosen = doc?.candidates.find(({ name }) => name === doc.chosen);
    if (chosen === undefined) return spec;
    const options = optionsOfChoice(spec.provider, spec.options, chosen);
    return options === spec.options
      ? spec
      : { ...spec, options, tuned: { name: chosen.name, given: spec.options, key } };
  }

  /** The finished tuning, or null. One that Redis lost is written again. */
  async done(key: TuningKey): Promise<TuningDoc | null> {
    const name = nameOf(key);
    const known = this.known.get(name);
    const now = performance.now();
    if (known !== undefined && now - known.readAt < READ_AGAIN_MS) return known.doc;
    const read = await this.redis.tunings.get(key);
    if (read === null && known !== undefined) {
      this.logger.warn({ shapeKey: key.shapeKey, chosen: known.doc.chosen }, 'a tuning was lost: it is written again');
      await this.redis.tunings.put(known.doc, newId());
      known.readAt = now;
      return known.doc;
    }
    if (read === null || read.state !== 'done') {
      this.known.delete(name);
      return null;
    }
    let touchedAt = known?.touchedAt ?? Number.NEGATIVE_INFINITY;
    if (now - touchedAt > TOUCH_EVERY_MS) {
      touchedAt = now;
      await this.redis.tunings.touch(key);
    }
    this.known.set(name, { doc: read, readAt: now, touchedAt });
    return read;
  }

  /** Something was chosen or taken back: read again at the next look. */
  readAgain(): void {
    for (const known of this.known.values()) known.readAt = Number.NEGATIVE_INFINITY;
  }

  /**
   * A lane that a winner made failed in the runtime: no lane is made by it any more, here or elsewhere. The options that
   * are given are in force again, if they are right.
   */
  async reject(
    { provider, tuned }: Pick<LaneSpec, 'provider' | 'tuned'>,
    end: { outcome: TuningOutcome; reason: string; signal: string | null },
  ): Promise<void> {
    if (tuned === null) return;
    const { key, name, given } = tuned;
    const doc = await this.redis.tunings.get(key);
    if (doc === null || doc.chosen !== name) return;
    const incumbent = incumbentOf(provider, given, doc.candidates);
    const stands = incumbent !== null && isRight(incumbent) && incumbent.name !== name ? incumbent.name : null;
    const candidates = doc.candidates.map((candidate) => {
      if (candidate.name === name) return { ...candidate, ...end, reason: `as a lane: ${end.reason}` };
      return candidate.name === stands ? { ...candidate, outcome: 'won' as const } : candidate;
    });
    this.logger.warn({ shapeKey: key.shapeKey, name, ...end }, 'a winner failed as a lane: it is taken back');
    const updated: TuningDoc = { ...doc, candidates, chosen: stands, updatedAt: new Date().toISOString() };
    await this.redis.tunings.put(updated, newId());
    this.readAgain();
  }
}

function nameOf({ environment, modelDigest, basis, shapeKey }: TuningKey): string {
  return [environment, modelDigest, basis, shapeKey].join(' ');
}
