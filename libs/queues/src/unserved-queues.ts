import { ClassStore, ModelStore, type RedisLogger, WorkerStore } from '@warmlane/redis';
import type { Redis } from 'ioredis';

const EVERY_MS = 5 * 60_000;

export interface UnservedQueuesOptions {
  /** Not closed here. */
  redis: Redis;
  /** ms between looks; default 5 min. */
  everyMs?: number;
  /** ms that a failed job is kept; default 1 h. */
  failedKeptMs?: number;
  logger?: RedisLogger;
}

/**
 * Forgets the class and cold queues of model versions that no worker has any more, once they are empty. Those of a version
 * that is served are the business of its workers, and these look only at what they have. Any number of processes may do so.
 */
export class UnservedQueues {
  readonly #models: ModelStore;
  readonly #workers: WorkerStore;
  readonly #classes: ClassStore;
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<void> | null = null;

  constructor(private readonly options: UnservedQueuesOptions) {
    this.#models = new ModelStore(options.redis);
    this.#workers = new WorkerStore(options.redis);
    this.#classes = new ClassStore(options.redis);
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#look(), this.options.everyMs ?? EVERY_MS);
    this.#timer.unref();
  }

  /** Idempotent. */
  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** One look at a time; a failed one is repeated by the next. */
  #look(): void {
    this.#looking ??= this.#lookAtAll()
      .catch((error: unknown) => {
        if (this.#timer === null) return;
        this.options.logger?.warn({ error: String(error) }, 'queues that nobody serves could not be looked for');
      })
      .finally(() => {
        this.#looking = null;
      });
  }

  async #lookAtAll(): Promise<void> {
    // Workers last: one that begins to serve a version meanwhile is seen.
    const models = await this.#models.list();
    const served = new Set((await this.#workers.list()).flatMap((worker) => worker.models));
    const kept = this.options.failedKeptMs === undefined ? {} : { failedKeptMs: this.options.failedKeptMs };
    for (const { name, version } of models) {
      if (served.has(`${name}/${version}`)) continue;
      for (const shapeClass of await this.#classes.list(name, version)) {
        await this.#classes.drop(name, version, shapeClass, kept);
      }
      await this.#classes.dropCold(name, version, kept);
    }
  }
}
