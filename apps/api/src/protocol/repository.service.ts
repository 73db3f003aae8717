import { Injectable } from '@nestjs/common';
import { isModelName, type ModelDoc, WarmlaneError } from '@warmlane/contracts';
import { ModelStore, Notices } from '@warmlane/redis';
import { FleetService } from '../fleet/fleet.service.js';
import { RedisGate } from '../fleet/redis.gate.js';
import { untilModel } from './until.js';

/** Loading reads the files and asks ONNX Runtime what they declare: seconds. Longer means no worker does it. */
const LOAD_LIMIT_MS = 60_000;
/** A name that no worker registered by then is in no repository. */
const FIND_LIMIT_MS = 10_000;
const UNLOAD_LIMIT_MS = 10_000;
/**
 * A state that stood before the wish is believed after this, unless a worker said something about the model earlier: it
 * may just be looking into its folder for a new version, or trying again what failed.
 */
const OLD_STATE_MS = 2_000;

/** Load and unload by name, as every worker then does; the answer waits for the outcome, as Triton's does. */
@Injectable()
export class RepositoryService {
  constructor(
    private readonly fleet: FleetService,
    private readonly models: ModelStore,
    private readonly notices: Notices,
    private readonly gate: RedisGate,
  ) {}

  /** Rejects `unknown-model` where no repository has it, `bad-request` with the reason where no version of it loads. */
  async load(name: string): Promise<void> {
    await this.#begin(name, 'load');
    const settled = await this.#wait(LOAD_LIMIT_MS, name, (versions) =>
      versions.every((doc) => doc.state === 'LOADED' || doc.state === 'FAILED'),
    );
    if (settled === null) throw tooLate(name, 'loaded');
    if (settled.some((doc) => doc.state === 'LOADED')) return;
    const reasons = settled.map((doc) => `version ${doc.version}: ${doc.reason}`);
    throw new WarmlaneError('bad-request', `model '${name}' does not load: ${reasons.join('; ')}`);
  }

  /** Rejects `unknown-model`. */
  async unload(name: string): Promise<void> {
    await this.fleet.versions(name);
    await this.#begin(name, 'unload');
    const done = await this.#wait(UNLOAD_LIMIT_MS, name, (versions) =>
      versions.every((doc) => doc.state === 'UNLOADED' || doc.state === 'FAILED'),
    );
    if (done === null) throw tooLate(name, 'unloaded');
  }

  async #begin(name: string, desired: 'load' | 'unload'): Promise<void> {
    if (!isModelName(name))
      throw new WarmlaneError('unknown-model', `'${name}' is not a model's name`, 'See POST /v2/repository/index.');
    const workers = await this.fleet.workersNow();
    if (!workers.some((worker) => worker.state !== 'gone')) {
      throw new WarmlaneError('not-ready', `no worker is there to ${desired} model '${name}'`, 'Start a worker.');
    }
    await this.gate.use(() => this.models.setDesired(name, null, desired));
  }

  #wait(limitMs: number, name: string, done: (versions: ModelDoc[]) => boolean): Promise<ModelDoc[] | null> {
    const begunAt = performance.now();
    return untilModel(name, limitMs, this.notices, async (heard) => {
      if (heard === 0 && performance.now() - begunAt < OLD_STATE_MS) return null;
      const versions = await this.gate.use(() => this.models.versions(name));
      if (versions.length === 0) {
        if (performance.now() - begunAt > FIND_LIMIT_MS) throw notFound(name);
        return null;
      }
      return done(versions) ? versions : null;
    });
  }
}

function notFound(name: string): WarmlaneError {
  return new WarmlaneError(
    'unknown-model',
    `no worker found model '${name}' in its repository`,
    'It looks for <repository>/<model>/<version>/model.onnx; a large one may still be read, see POST /v2/repository/index.',
  );
}

function tooLate(name: string, what: string): WarmlaneError {
  return new WarmlaneError(
    'not-ready',
    `model '${name}' is not ${what} yet`,
    'See POST /v2/repository/index for its state.',
  );
}
