import { Patience } from '@warmlane/queues';
import type { Redis } from 'ioredis';

/**
 * Reads and writes of Redis on behalf of somebody who waits over HTTP: `redis-away` at once while there is no
 * connection, and when a command gets no answer, instead of the client's own endless patience.
 */
export class RedisGate {
  readonly #patience: Patience;

  constructor(redis: Redis) {
    this.#patience = new Patience(redis);
  }

  get connected(): boolean {
    return this.#patience.connected;
  }

  async use<T>(work: () => Promise<T>): Promise<T> {
    this.#patience.refuseIfAway();
    return await this.#patience.within(work());
  }
}
