import { WarmlaneError } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { Outage } from './outage.js';

const SYNC_EVERY_MS = 5_000;
/** A sample whose round trip was longer says the time less exactly than the last good one. */
const WORST_ROUND_TRIP_MS = 500;
const SAMPLES = 3;

/**
 * Redis TIME without asking each time: deadlines are compared with it, so that no machine's clock counts. The offset to
 * this process's monotonic clock is measured at `sync`, then every 5 s and after each reconnect; good to half the best
 * of three round trips.
 */
export class RedisClock {
  readonly #redis: Redis;
  readonly #outage: Outage;
  #offsetMs: number | null = null;
  #timer: NodeJS.Timeout | null = null;
  #syncing: Promise<void> | null = null;
  readonly #onUp = (): void => this.#background();

  constructor(redis: Redis) {
    this.#redis = redis;
    this.#outage = Outage.of(redis);
  }

  /** Measures the offset; resolves when it is known. The first call also starts the timer. */
  async sync(): Promise<void> {
    if (this.#timer === null) {
      this.#timer = setInterval(() => this.#background(), SYNC_EVERY_MS);
      this.#timer.unref();
      this.#outage.on('up', this.#onUp);
    }
    this.#syncing ??= this.#measure().finally(() => {
      this.#syncing = null;
    });
    await this.#syncing;
  }

  /** Redis TIME in ms, with fraction. Throws `redis-away` before the first `sync` has ended. */
  now(): number {
    if (this.#offsetMs === null) {
      throw new WarmlaneError('redis-away', 'Redis has not told its time yet', 'Send the request again.');
    }
    return performance.now() + this.#offsetMs;
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#outage.off('up', this.#onUp);
  }

  /** A failed measurement keeps the old offset: the next one comes in 5 s. */
  #background(): void {
    this.sync().catch(() => undefined);
  }

  async #measure(): Promise<void> {
    let best: { roundTripMs: number; offsetMs: number } | null = null;
    for (let n = 0; n < SAMPLES; n += 1) {
      const sentAt = performance.now();
      const [seconds, micros] = await this.#redis.time();
      const roundTripMs = performance.now() - sentAt;
      const offsetMs = Number(seconds) * 1_000 + Number(micros) / 1_000 - (sentAt + roundTripMs / 2);
      if (best === null || roundTripMs < best.roundTripMs) best = { roundTripMs, offsetMs };
    }
    if (best === null) return;
    if (this.#offsetMs === null || best.roundTripMs <= WORST_ROUND_TRIP_MS) this.#offsetMs = best.offsetMs;
  }
}
