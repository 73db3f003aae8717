import { Injectable } from '@nestjs/common';
import { type ErrorCode, WarmlaneError, type WorkerDoc } from '@warmlane/contracts';
import { Liveness, WorkerStore } from '@warmlane/redis';
import { RedisGate } from './redis.gate.js';

const UNKNOWN: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['unknown-model', 'unknown-version']);
/** A worker says one of these only after every model of its repository is registered. */
const LOADED: ReadonlySet<WorkerDoc['state']> = new Set<WorkerDoc['state']>(['serving', 'device-unhealthy']);

/**
 * After the start a name that nobody registered may be one that a worker is still reading: it is not known to be unknown.
 * That is over for good when a live worker has loaded its repository once.
 */
@Injectable()
export class FirstLoad {
  #over = false;

  constructor(
    private readonly gate: RedisGate,
    private readonly workers: WorkerStore,
    private readonly liveness: Liveness,
  ) {}

  /**
   * The work's result. Where it rejects with `unknown-model` or `unknown-version` before that first load: `not-ready`. Work
   * that rejects so has done nothing, and may be done again.
   */
  async during<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (this.#over || !(error instanceof WarmlaneError && UNKNOWN.has(error.code))) throw error;
      this.#over = await this.gate.use(() => this.#hasLoaded());
      // It may have been registered just before.
      if (this.#over) return await work();
      throw new WarmlaneError(
        'not-ready',
        'the model repository is still being loaded: it is not known yet whether the model is there',
        'Send it again in a second; where this lasts, no worker runs: see its log.',
        { cause: error },
      );
    }
  }

  /** The document of a worker that was killed is there until its successor writes another, under another epoch. */
  async #hasLoaded(): Promise<boolean> {
    const [docs, live] = await Promise.all([this.workers.list(), this.liveness.live()]);
    return docs.some((doc) => live.get(doc.id) === doc.epoch && LOADED.has(doc.state));
  }
}
