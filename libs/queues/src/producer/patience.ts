import { WarmlaneError } from '@warmlane/contracts';
import { Outage } from '@warmlane/redis';
import type { Redis } from 'ioredis';
import { REDIS_PATIENCE_MS, REDIS_SILENCE_MS } from '../settings.js';

const LOOK_EVERY_MS = 250;
/** A timer is late by less than this unless the event loop was blocked. */
const LATE_MS = 50;

function redisAway(cause?: unknown): WarmlaneError {
  return new WarmlaneError('redis-away', 'Redis does not answer', 'Send the request again; it was not accepted.', {
    cause,
  });
}

/** What a failed Redis command means to a caller. The first word of a reply error is its code in Redis's protocol. */
function redisError(thrown: unknown, connected: boolean): WarmlaneError {
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
    return new WarmlaneError(
      'redis-away',
      `Redis refuses the command: ${thrown.message.replace(/ script: .*$/, '')}`,
      'Send the request again; it was not accepted. What Redis says must be mended there.',
      { cause: thrown },
    );
  }
  return connected ? WarmlaneError.from(thrown) : redisAway(thrown);
}

/** Before its first connection a client has no stream. */
function bytesReadBy(redis: { stream?: { bytesRead: number } }): number {
  return redis.stream?.bytesRead ?? 0;
}

interface Waiter {
  /** `performance.now()` of the command. */
  since: number;
  reject: (error: WarmlaneError) => void;
}

/**
 * Keeps callers from waiting for a Redis that is away: its client holds every command back until it is connected again,
 * which is right for workers and wrong for somebody who waits for an answer over HTTP.
 */
export class Patience {
  readonly #outage: Outage;
  readonly #waiters = new Set<Waiter>();
  #timer: NodeJS.Timeout | null = null;
  #bytesRead = 0;
  /** Since when nothing came from Redis, as far as this process could see. */
  #silentSince = 0;
  #lookedAt = 0;

  constructor(private readonly redis: Redis) {
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
   * The command's result. Rejects with `redis-away` where the connection was lost and is not back after 1 s, or is open
   * and silent for 2 s; a Redis that answers others meanwhile is only slow.
   */
  async within<T>(command: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const waiter: Waiter = { since: performance.now(), reject };
      this.#waiters.add(waiter);
      if (this.#timer === null) this.#start();
      command.then(
        (result) => {
          this.#waiters.delete(waiter);
          resolve(result);
        },
        (error: unknown) => {
          this.#waiters.delete(waiter);
          reject(redisError(error, this.#outage.connected));
        },
      );
    });
  }

  #start(): void {
    this.#lookedAt = performance.now();
    this.#silentSince = this.#lookedAt;
    this.#bytesRead = bytesReadBy(this.redis);
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
    this.#timer.unref();
  }

  #look(): void {
    if (this.#waiters.size === 0) {
      if (this.#timer !== null) clearInterval(this.#timer);
      this.#timer = null;
      return;
    }
    const now = performance.now();
    const bytesRead = bytesReadBy(this.redis);
    // A late look says that this process stood still: answers may lie unread in the socket.
    const stoodStill = now - this.#lookedAt > LOOK_EVERY_MS + LATE_MS;
    if (stoodStill || bytesRead !== this.#bytesRead || !this.#outage.connected) this.#silentSince = now;
    this.#bytesRead = bytesRead;
    this.#lookedAt = now;
    for (const waiter of this.#waiters) {
      const waitedMs = now - waiter.since;
      const lost = !this.#outage.connected && waitedMs >= REDIS_PATIENCE_MS;
      const silent = now - this.#silentSince >= REDIS_SILENCE_MS && waitedMs >= REDIS_SILENCE_MS;
      if (!lost && !silent) continue;
      this.#waiters.delete(waiter);
      waiter.reject(redisAway());
    }
  }
}
