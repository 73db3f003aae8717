import { keys } from '@warmlane/redis';
import type { Redis } from 'ioredis';
import { SUSPECT_TTL_MS } from './serving.settings.js';

/**
 * Requests that were executing when a runtime died, and how many runtimes each has killed alone. It lies in Redis, so
 * that a worker which dies with the request does not make it innocent.
 */
export class Suspects {
  constructor(private readonly redis: Redis) {}

  /** Deaths that the request caused alone; null where it is under no suspicion. */
  async deaths(request: string): Promise<number | null> {
    const text = await this.redis.get(keys.deaths(request));
    return text === null ? null : Number(text);
  }

  /** The request was executing, with others maybe, when a runtime died. */
  async suspect(request: string): Promise<void> {
    await this.redis.set(keys.deaths(request), 0, 'PX', SUSPECT_TTL_MS, 'NX');
  }

  /** The request killed a runtime that it had for itself. Returns its deaths. */
  async charge(request: string): Promise<number> {
    const key = keys.deaths(request);
    const [count] = await Promise.all([this.redis.incr(key), this.redis.pexpire(key, SUSPECT_TTL_MS)]);
    return count;
  }

  async clear(request: string): Promise<void> {
    await this.redis.unlink(keys.deaths(request));
  }
}
