import { WarmlaneError } from '@warmlane/contracts';
import { Outage } from '@warmlane/redis';
import type { Redis } from 'ioredis';
import { REDIS_PATIENCE_MS } from '../settings.js';

function redisAway(cause?: unknown): WarmlaneError {
  return new WarmlaneError('redis-away', 'Redis does not answer', 'Send the request again; it was not accepted.', {
    cause,
  });
}

/** What a failed Redis command means to a caller. The first word of a reply error is its code in Redis's protocol. */
export function redisError(thrown: unknown, connected: boolean): WarmlaneError {
  if (thrown instanceof WarmlaneError) return thrown;
  if (thrown instanceof Error && thrown.name === 'ReplyError') {
    if (thrown.message.startsWith('OOM ')) {
      return new WarmlaneError(
        'overloaded',
        'Redis is out of memory',
        'Send the request again later, or raise its maxmemory.',
        {
          cause: thrown,
        },
      );
    }
    if (!/^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|MISCONF) /.test(thrown.message)) return WarmlaneError.from(thrown);
    return redisAway(thrown);
  }
  return connected ? WarmlaneError.from(thrown) : redisAway(thrown);
}

/**
 * Keeps callers from waiting for a Redis that is away: its client holds every command back until it is connected again,
 * which is right for workers and wrong for somebody who waits for an answer over HTTP.
 */
export class Patience {
  readonly #outage: Outage;
  #answeredAt = performance.now();

  constructor(redis: Redis) {
    this.#outage = Outage.of(redis);
  }

  get connected(): boolean {
    return this.#outage.connected;
  }

  /** Throws `redis-away` at once while there is no connection. */
  refuseIfAway(): void {
    if (!this.#outage.connected) throw redisAway();
  }

  /**
   * The command's result. Rejects with `redis-away` when it is not there after 1 s, unless Redis answered others
   * meanwhile: then it is only slow.
   */
  async within<T>(command: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<never>((_resolve, reject) => {
      const look = (): void => {
        const slowOnly = this.#outage.connected && performance.now() - this.#answeredAt < REDIS_PATIENCE_MS;
        if (slowOnly) timer = setTimeout(look, REDIS_PATIENCE_MS);
        else reject(redisAway());
      };
      timer = setTimeout(look, REDIS_PATIENCE_MS);
    });
    try {
      const result = await Promise.race([command, tooLong]);
      this.#answeredAt = performance.now();
      return result;
    } catch (error) {
      throw redisError(error, this.#outage.connected);
    } finally {
      clearTimeout(timer);
    }
  }
}
