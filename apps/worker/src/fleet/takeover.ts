import { Inject, Injectable } from '@nestjs/common';
import { compareVersions, type ModelDoc } from '@warmlane/contracts';
import { requiredReady } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { chooseDefaultVersion } from '@warmlane/redis';
import { LOGGER } from '../logger.js';
import { WorkerRedis } from '../redis.provider.js';
import type { FleetView } from './fleet.js';

/** Producers keep a default version for up to 200 ms: so long the old one's lanes stay where they are, with a margin. */
const SWITCH_MS = 1_000;

/**
 * Which version of a model is the default. A version becomes it once its required plan is READY; only then the declared
 * plans of older ones are set aside. Every worker does this; the marks are the same whoever sets them.
 */
@Injectable()
export class Takeover {
  /** When this worker first saw a version ready, performance.now. */
  private readonly readySince = new Map<string, number>();

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async sync(docs: readonly ModelDoc[], fleet: FleetView): Promise<void> {
    for (const name of new Set(docs.map((doc) => doc.name))) {
      const versions = docs
        .filter((doc) => doc.name === name && doc.state === 'LOADED')
        .sort((a, b) => compareVersions(a.version, b.version));
      for (const doc of versions) if (!doc.wasReady && (await this.isReady(doc, fleet))) await this.markReady(doc);
      await this.retireOlder(versions);
    }
  }

  private async isReady({ name, version }: ModelDoc, fleet: FleetView): Promise<boolean> {
    // Nobody wrote the plan yet: an empty one is ready, one that is not there is not.
    if ((await this.redis.plans.revision(name, version)) === 0) return false;
    const entries = await this.redis.plans.entries(name, version);
    const shapes = fleet.serving
      .filter((lane) => lane.model === name && lane.version === version)
      .map((lane) => lane.shapeKey);
    return requiredReady(entries, new Set(shapes));
  }

  private async markReady({ name, version }: ModelDoc): Promise<void> {
    if (await this.redis.models.markReady(name, version)) {
      this.logger.info({ model: name, version }, 'required plan READY: the version may be the default');
    }
  }

  private async retireOlder(versions: readonly ModelDoc[]): Promise<void> {
    const current = chooseDefaultVersion(versions);
    for (const doc of versions) {
      const older = current !== null && compareVersions(doc.version, current) < 0;
      if (!older && doc.retired) await this.redis.models.retire(doc.name, doc.version, false);
      if (!older || doc.retired || !this.hasSettled(versions, current)) continue;
      if (await this.redis.models.retire(doc.name, doc.version)) {
        this.logger.info({ model: doc.name, version: doc.version, by: current }, 'taken over: its plan is set aside');
      }
    }
  }

  /** True once the new default was ready long enough for every producer to have seen it. */
  private hasSettled(versions: readonly ModelDoc[], current: string): boolean {
    const doc = versions.find((one) => one.version === current);
    if (doc === undefined || !doc.wasReady) return false;
    const key = `${doc.name}/${current}`;
    const since = this.readySince.get(key) ?? performance.now();
    this.readySince.set(key, since);
    return performance.now() - since >= SWITCH_MS;
  }
}
