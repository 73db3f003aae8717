import { Injectable } from '@nestjs/common';
import { isModelName, type ModelDoc, WarmlaneError } from '@warmlane/contracts';
import { ModelStore, Notices } from '@warmlane/redis';
import { FleetService } from '../fleet/fleet.service.js';
import { RedisGate } from '../fleet/redis.gate.js';
import { loadVerdict } from './load-verdict.js';
import { untilModel } from './until.js';

/** A worker that has the model reads its files, which may be many gigabytes on a slow disk. */
const LOAD_LIMIT_MS = 300_000;
/** Workers look for a name within milliseconds; one that has not answered by then has nothing to say. */
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

  /**
   * Resolves once a live worker has read the model's folder again and serves a version of it. Rejects `unknown-model`
   * where no live worker has it, `bad-request` with the reasons where no version of it loads, `not-ready` without a worker.
   * @param signal aborted: nobody waits any more; the workers go on
   */
  async load(name: string, signal: AbortSignal): Promise<void> {
    const wish = await this.#begin(name, 'load');
    const begunAt = performance.now();
    const settled = await untilModel(name, LOAD_LIMIT_MS, this.notices, signal, () =>
      this.#loaded(name, wish, begunAt),
    );
    if (settled === null) throw tooLate(name, 'loaded');
  }

  /** True where it is loaded, null while it is not settled. */
  async #loaded(name: string, wish: number, begunAt: number): Promise<true | null> {
    const workers = await this.#workers();
    const [versions, answers] = await this.gate.use(() =>
      Promise.all([this.models.versions(name), this.models.loadAnswers(name)]),
    );
    const outcomes = new Map(
      [...answers].filter(([, answer]) => answer.wish >= wish).map(([worker, { outcome }]) => [worker, outcome]),
    );
    const verdict = loadVerdict(workers, outcomes, versions);
    switch (verdict) {
      case 'loaded':
        return true;
      case 'nobody':
        throw noWorker(name, 'load');
      case 'unknown':
        throw notFound(name);
      case 'failed':
        throw failed(name, versions);
      case 'asked':
        if (performance.now() - begunAt > FIND_LIMIT_MS) throw notFound(name);
        return null;
      case 'reading':
        return null;
    }
  }

  /** Rejects `unknown-model`. */
  async unload(name: string): Promise<void> {
    await this.fleet.versions(name);
    await this.#begin(name, 'unload');
    if ((await this.#unloaded(name)) === null) throw tooLate(name, 'unloaded');
  }

  /** @returns the number of the wish */
  async #begin(name: string, desired: 'load' | 'unload'): Promise<number> {
    if (!isModelName(name))
      throw new WarmlaneError('unknown-model', `'${name}' is not a model's name`, 'See POST /v2/repository/index.');
    if ((await this.#workers()).length === 0) throw noWorker(name, desired);
    return await this.gate.use(() => this.models.setDesired(name, null, desired));
  }

  /** Ids of the live workers; one that is about to end answers nothing any more. */
  async #workers(): Promise<string[]> {
    const workers = await this.fleet.workersNow();
    return workers.filter(({ state }) => state !== 'gone' && state !== 'draining').map((worker) => worker.id);
  }

  #unloaded(name: string): Promise<ModelDoc[] | null> {
    const begunAt = performance.now();
    return untilModel(name, UNLOAD_LIMIT_MS, this.notices, NEVER, async (heard) => {
      if (heard === 0 && performance.now() - begunAt < OLD_STATE_MS) return null;
      const versions = await this.gate.use(() => this.models.versions(name));
      return versions.every((doc) => doc.state === 'UNLOADED' || doc.state === 'FAILED') ? versions : null;
    });
  }
}

const NEVER = new AbortController().signal;

function noWorker(name: string, desired: 'load' | 'unload'): WarmlaneError {
  return new WarmlaneError(
    'not-ready',
    `no live worker is there to ${desired} model '${name}'`,
    'Start a worker (`warmlane worker`, or `warmlane serve` for everything), then ask again.',
  );
}

function failed(name: string, versions: readonly ModelDoc[]): WarmlaneError {
  const reasons = versions.map((doc) => `version ${doc.version}: ${doc.reason === '' ? doc.state : doc.reason}`);
  return new WarmlaneError('bad-request', `model '${name}' does not load: ${reasons.join('; ')}`);
}

function notFound(name: string): WarmlaneError {
  return new WarmlaneError(
    'unknown-model',
    `no worker has model '${name}' in its repository`,
    'Put it there as <repository>/<model>/<version>/model.onnx and ask again.',
  );
}

function tooLate(name: string, what: string): WarmlaneError {
  return new WarmlaneError(
    'not-ready',
    `model '${name}' is not ${what} yet`,
    'See POST /v2/repository/index for its state.',
  );
}
