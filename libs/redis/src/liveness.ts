import type { Redis } from 'ioredis';
import { keys } from './keys.js';
import { ALIVE_TTL_MS, PRESENT_TTL_MS } from './lifetimes.js';
import { Outage } from './outage.js';

const CACHE_MS = 100;
const POLL_EVERY_MS = 200;
/** A read that took longer says that Redis stood still: heartbeats were late for that reason too. */
const STALL_MS = 400;

/**
 * Which workers are live, as Redis's own clock says. It polls in the background, so `live()` seldom asks Redis, and so that
 * an outage is noticed in a process that has no requests. After Redis was away or stood still, no worker counts as
 * expired for one full time to live: all were silent together, and the silence was Redis's.
 */
export class Liveness {
  readonly #redis: Redis;
  readonly #outage: Outage;
  /** Workers that count as live -> epoch. */
  readonly #live = new Map<string, number>();
  #known: string[] = [];
  #readAt = Number.NEGATIVE_INFINITY;
  /** End of the last outage or stall; the start counts as one for `gone`. */
  #outageEndedAt: number;
  #hadOutage = false;
  #startedAt: number | null = null;
  #reading: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  readonly #onUp = (): void => this.#noteOutage();

  constructor(redis: Redis) {
    this.#redis = redis;
    this.#outage = Outage.of(redis);
    this.#outageEndedAt = performance.now();
    this.#outage.on('up', this.#onUp);
    this.#timer = setInterval(() => this.#poll(), POLL_EVERY_MS);
    this.#timer.unref();
  }

  /**
   * Live workers and their runtime epochs, at most 100 ms old. While Redis is away or stands still: the last that was
   * known; where nothing was ever read it waits for Redis.
   */
  async live(): Promise<Map<string, number>> {
    await this.#refresh();
    return new Map(this.#live);
  }

  /** True where this worker is live in this very epoch. */
  async isLive(worker: string, epoch: number): Promise<boolean> {
    await this.#refresh();
    return this.#live.get(worker) === epoch;
  }

  /**
   * Workers without a sign of life for 15 s: their lanes may be marked stale. None in the first 15 s after the start of
   * this reader and after an outage.
   */
  async gone(): Promise<string[]> {
    if (performance.now() - this.#outageEndedAt < PRESENT_TTL_MS || this.#stalled()) return [];
    const askedAt = performance.now();
    const workers = await this.#redis.smembers(keys.workers());
    if (workers.length === 0) return [];
    const present = await this.#redis.mget(workers.map(keys.present));
    // Redis may have gone away or stood still while it was asked.
    if (performance.now() - askedAt > STALL_MS) this.#noteOutage();
    if (performance.now() - this.#outageEndedAt < PRESENT_TTL_MS) return [];
    return workers.filter((_, n) => present[n] === null).sort();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#outage.off('up', this.#onUp);
  }

  #noteOutage(): void {
    this.#outageEndedAt = performance.now();
    this.#hadOutage = true;
  }

  #stalled(): boolean {
    return !this.#outage.connected || (this.#startedAt !== null && performance.now() - this.#startedAt > STALL_MS);
  }

  /** A failed read leaves what is known; the next one comes in 200 ms. */
  #poll(): void {
    this.#refresh().catch(() => undefined);
  }

  async #refresh(): Promise<void> {
    if (performance.now() - this.#readAt <= CACHE_MS) return;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
      this.#startedAt = null;
    });
    const everRead = Number.isFinite(this.#readAt);
    if (!everRead) return this.#reading;
    await (this.#stalled() ? undefined : this.#orStall(this.#reading));
  }

  /** The read, or its standing still: requests are not kept waiting for what is known well enough. */
  async #orStall(reading: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const stall = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STALL_MS);
    });
    await Promise.race([reading, stall]);
    clearTimeout(timer);
  }

  async #read(): Promise<void> {
    const startedAt = performance.now();
    this.#startedAt = startedAt;
    // Those that count as live are asked for even where the set of workers was lost with Redis's memory.
    const asked = Array.from(new Set([...this.#known, ...this.#live.keys()]));
    const [members, epochs] = await Promise.all([this.#redis.smembers(keys.workers()), this.#alive(asked)]);
    const fresh = members.filter((worker) => !asked.includes(worker));
    const freshEpochs = await this.#alive(fresh);
    if (performance.now() - startedAt > STALL_MS) this.#noteOutage();
    this.#known = members;
    this.#apply([...asked, ...fresh], [...epochs, ...freshEpochs]);
    this.#readAt = performance.now();
  }

  async #alive(workers: readonly string[]): Promise<(string | null)[]> {
    return workers.length === 0 ? [] : this.#redis.mget(workers.map(keys.alive));
  }

  #apply(workers: readonly string[], epochs: readonly (string | null)[]): void {
    const forgive = this.#hadOutage && performance.now() - this.#outageEndedAt < ALIVE_TTL_MS;
    workers.forEach((worker, n) => {
      const epoch = epochs[n] ?? null;
      if (epoch !== null) this.#live.set(worker, Number(epoch));
      else if (!forgive) this.#live.delete(worker);
    });
  }
}
