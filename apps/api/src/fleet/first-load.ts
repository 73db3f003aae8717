import { type ErrorCode, WarmlaneError, type WorkerDoc } from '@warmlane/contracts';
import { type FirstLoadPort, StillLoadingError } from '@warmlane/queues';
import type { Liveness, WorkerStore } from '@warmlane/redis';
import type { RedisGate } from './redis.gate.js';

const UNKNOWN: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['unknown-model', 'unknown-version']);
/** A worker says one of these only after every model of its repository is registered. */
const LOADED: ReadonlySet<WorkerDoc['state']> = new Set<WorkerDoc['state']>(['serving', 'device-unhealthy']);

/**
 * After the start a name that nobody registered may be one that a worker is still reading: it is not known to be unknown.
 * That is over for good when a live worker has loaded its repository once.
 */
export class FirstLoad implements FirstLoadPort {
  #over = false;
  /** Shared by the many jobs that may wait. */
  #looking: Promise<boolean> | null = null;

  constructor(
    private readonly gate: RedisGate,
    private readonly workers: WorkerStore,
    private readonly liveness: Liveness,
  ) {}

  async during<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (this.#over || !(error instanceof WarmlaneError && UNKNOWN.has(error.code))) throw error;
      if (await this.#look()) this.#over = true;
      // It may have been registered just before.
      if (this.#over) return await work();
      throw new StillLoadingError(error);
    }
  }

  #look(): Promise<boolean> {
    this.#looking ??= this.gate
      .use(() => this.#hasLoaded())
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }

  /** The document of a worker that was killed is there until its successor writes another, under another epoch. */
  async #hasLoaded(): Promise<boolean> {
    const [docs, live] = await Promise.all([this.workers.list(), this.liveness.live()]);
    return docs.some((doc) => live.get(doc.id) === doc.epoch && LOADED.has(doc.state));
  }
}
