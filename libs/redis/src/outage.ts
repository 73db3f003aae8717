import { EventEmitter } from 'node:events';
import type { Redis } from 'ioredis';
import type { RedisLogger } from './logger.js';

/** Events: `down(reason)` once when the connection is lost, `up(downMs)` once when it works again. */
interface OutageEvents {
  down: [reason: string];
  up: [downMs: number];
}

const trackers = new WeakMap<Redis, Outage>();

/**
 * Whether one client's Redis answers. It logs one line per outage and one per recovery, however many commands and
 * reconnects fail meanwhile (64 clients make about 1,000 error events per outage).
 */
export class Outage extends EventEmitter<OutageEvents> {
  #connected: boolean;
  /** Start of the outage that was reported and is not over; null while there is none. */
  #downSince: number | null = null;
  #lastReconnectAt: number;
  readonly #name: string;
  readonly #logger: RedisLogger | null;

  private constructor(redis: Redis, name: string, logger: RedisLogger | null) {
    super();
    this.setMaxListeners(0);
    this.#name = name;
    this.#logger = logger;
    this.#connected = redis.status === 'ready';
    this.#lastReconnectAt = performance.now();
    redis.on('error', (error: Error) => this.#down(error.message));
    redis.on('close', () => {
      // ioredis has set `end` by now where the close was asked for; that is no outage.
      if (redis.status === 'end') this.#connected = false;
      else this.#down('connection closed');
    });
    redis.on('ready', () => this.#up());
  }

  /** The tracker of a client; made on first use. */
  static of(redis: Redis, name = 'redis', logger: RedisLogger | null = null): Outage {
    let tracker = trackers.get(redis);
    if (tracker === undefined) {
      tracker = new Outage(redis, name, logger);
      trackers.set(redis, tracker);
    }
    return tracker;
  }

  /** False from the loss of the connection until the next `ready`. */
  get connected(): boolean {
    return this.#connected;
  }

  /** When the client last became ready, or its making; `performance.now()` ms. */
  get lastReconnectAt(): number {
    return this.#lastReconnectAt;
  }

  #down(reason: string): void {
    this.#connected = false;
    if (this.#downSince !== null) return;
    this.#downSince = performance.now();
    this.#logger?.warn({ connection: this.#name, reason }, 'Redis is away; commands wait until it is back');
    this.emit('down', reason);
  }

  #up(): void {
    this.#connected = true;
    this.#lastReconnectAt = performance.now();
    if (this.#downSince === null) return;
    const downMs = performance.now() - this.#downSince;
    this.#downSince = null;
    this.#logger?.info({ connection: this.#name, downMs: Math.round(downMs) }, 'Redis is back');
    this.emit('up', downMs);
  }
}
