import type { Redis } from 'ioredis';
import { keys } from './keys.js';
import type { Liveness } from './liveness.js';
import { runScript } from './scripts.js';

/** A worker that holds a shape class READY, in the runtime epoch in which it became so. */
export interface Holder {
  worker: string;
  epoch: number;
}

/** `worker:epoch`, as {@link Holders.of} gives it -> its parts; null for another text. */
export function parseHolder(text: string): Holder | null {
  const match = /^([^:]+):([0-9]+)$/.exec(text);
  return match === null ? null : { worker: match[1] ?? '', epoch: Number(match[2]) };
}

interface Member {
  /** `worker:epoch:lane`. */
  member: string;
  worker: string;
  epoch: string;
}

/** Looking for the dead costs three commands; the living are found without it. */
const SWEEP_EVERY_MS = 1_000;

/** Who can serve a shape class at once. */
export class Holders {
  readonly #redis: Redis;
  readonly #liveness: Liveness;
  #sweptAt = Number.NEGATIVE_INFINITY;

  constructor(redis: Redis, liveness: Liveness) {
    this.#redis = redis;
    this.#liveness = liveness;
  }

  /**
   * `worker:epoch` of every live worker that holds the class READY in its current epoch, each once, sorted. Entries of
   * workers that are gone, and of old epochs, are taken out on the way.
   */
  async of(model: string, version: string, shapeClass: string): Promise<string[]> {
    const key = keys.holders(model, version, shapeClass);
    const [members, live] = await Promise.all([this.#redis.smembers(key), this.#liveness.live()]);
    const holding = new Set<string>();
    const dead: Member[] = [];
    for (const member of members) {
      const [worker = '', epoch = ''] = member.split(':');
      if (live.get(worker) === Number(epoch)) holding.add(`${worker}:${epoch}`);
      else dead.push({ member, worker, epoch });
    }
    if (dead.length > 0 && performance.now() - this.#sweptAt >= SWEEP_EVERY_MS) await this.#sweep(key, dead, live);
    return Array.from(holding).sort();
  }

  /** Takes out what can never be live again; a worker that is merely late keeps its place. */
  async #sweep(key: string, dead: readonly Member[], live: ReadonlyMap<string, number>): Promise<void> {
    this.#sweptAt = performance.now();
    const gone = new Set(await this.#liveness.gone());
    const past = dead.filter(({ worker, epoch }) => gone.has(worker) || (live.get(worker) ?? 0) > Number(epoch));
    if (past.length === 0) return;
    await runScript(
      this.#redis,
      'sweepHolders',
      [key, ...past.flatMap(({ worker }) => [keys.present(worker), keys.epoch(worker)])],
      past.flatMap(({ member, epoch }) => [member, epoch]),
    );
  }
}
