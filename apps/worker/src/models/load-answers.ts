import { Inject, Injectable } from '@nestjs/common';
import type { DesiredModel, LoadOutcome } from '@warmlane/redis';
import { IdentityService } from '../identity/identity.service.js';
import { WorkerRedis } from '../redis.provider.js';
import { WORKER_CONFIG, type WorkerConfig } from '../worker.config.js';
import { scanRepository } from './repository-scan.js';

/**
 * What this worker says to wishes of the repository API: whoever asked for a load over HTTP waits for it. Wishes stand in
 * Redis for good, each is answered once by each worker.
 */
@Injectable()
export class LoadAnswers {
  /** Number of the wish that was answered for good, by name. */
  private readonly answered = new Map<string, number>();

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(WORKER_CONFIG) private readonly config: WorkerConfig,
  ) {}

  /**
   * Says at once whether there is anything to load: the look that reads it may be minutes away, behind another model that
   * is large. A model that is not there is answered for good by it.
   */
  async announce(name: string): Promise<void> {
    const wish = this.open(await this.redis.models.desired()).get(name);
    if (wish === undefined) return;
    const found = await scanRepository(this.config.models, name);
    await this.say(name, wish, found.length === 0 ? 'none' : 'found');
  }

  /** Load wishes without an answer that counts for good: their numbers by name. */
  open(wishes: readonly DesiredModel[]): Map<string, number> {
    const newest = new Map<string, number>();
    for (const { name, desired, wish } of wishes) {
      if (desired === 'load') newest.set(name, Math.max(wish, newest.get(name) ?? 0));
    }
    return new Map([...newest].filter(([name, wish]) => this.answered.get(name) !== wish));
  }

  async say(name: string, wish: number, outcome: LoadOutcome): Promise<void> {
    await this.redis.models.answerLoad(name, this.identity.id, { wish, outcome });
    if (outcome !== 'found') this.answered.set(name, wish);
  }
}
