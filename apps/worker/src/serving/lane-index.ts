import { firstOfCover, LikelyTime } from '@warmlane/lanes';
import type { ReadyLane } from '../ports.js';

interface Entry {
  readonly lane: ReadyLane;
  running: number;
  /** From the beginning of a run here to its end, ms. */
  readonly took: LikelyTime;
  whenIdle: (() => void)[];
}

/** Model, version and shape class in one text. */
export function classKey(of: { model: string; version: string; class: string }): string {
  return `${of.model}/${of.version}/${of.class}`;
}

/** Items that a lane takes in one run. */
export function sizeOf(lane: ReadyLane): number {
  return lane.batch?.size ?? 1;
}

/**
 * The lanes that serve now, by id and by class, and what runs on each. A lane that comes back after its runtime died has
 * its old id and is another entry: what ends late counts for the life in which it began.
 */
export class LaneIndex {
  readonly #byId = new Map<string, Entry>();
  readonly #byKey = new Map<string, Entry[]>();

  add(lane: ReadyLane): void {
    void this.remove(lane.id);
    const entry = { lane, running: 0, took: new LikelyTime(lane.p50Ms), whenIdle: [] };
    this.#byId.set(lane.id, entry);
    const key = classKey(lane);
    this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), entry]);
  }

  /** The lane gets no new work. Resolves once nothing runs on it any more. */
  remove(id: string): Promise<void> {
    const entry = this.#byId.get(id);
    if (entry === undefined) return Promise.resolve();
    this.#byId.delete(id);
    const key = classKey(entry.lane);
    const rest = (this.#byKey.get(key) ?? []).filter((other) => other !== entry);
    if (rest.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, rest);
    if (entry.running === 0) return Promise.resolve();
    return new Promise((resolve) => entry.whenIdle.push(resolve));
  }

  /** A lane that serves has another steady p50 from now on. */
  measured(id: string, p50Ms: number): void {
    const entry = this.#byId.get(id);
    if (entry !== undefined) entry.lane.p50Ms = p50Ms;
  }

  /** True while this very life of the lane serves. */
  holds(lane: ReadyLane): boolean {
    return this.#byId.get(lane.id)?.lane === lane;
  }

  /** True where a lane of the class serves; with `padded` one to whose shape requests may be padded. */
  serves(key: string, padded: boolean): boolean {
    return this.#of(key, padded).length > 0;
  }

  /** Items of the largest batch of all lanes; 1 without any. */
  get largestBatch(): number {
    return largestOf(this.#byId.values());
  }

  /** The largest lane of the class that a lane is or was of; null where none of it serves. */
  largestLike(lane: ReadyLane): ReadyLane | null {
    const all = this.#of(classKey(lane), false).map((entry) => entry.lane);
    return all.sort((a, b) => sizeOf(b) - sizeOf(a))[0] ?? null;
  }

  /** Items of the largest batch of one class; with `padded` of its lanes to whose shape requests may be padded. */
  largestOf(key: string, padded: boolean): number {
    return largestOf(this.#of(key, padded));
  }

  /**
   * The lane that is to run next where so many items of a class wait: the first of the cheapest cover by the lanes' own
   * records, of several of its size the least busy. null where none serves.
   */
  pick(key: string, items: number, padded: boolean): ReadyLane | null {
    const bySize = new Map<number, Entry>();
    for (const entry of this.#of(key, padded)) {
      const size = sizeOf(entry.lane);
      const known = bySize.get(size);
      if (known === undefined || entry.running < known.running) bySize.set(size, entry);
    }
    const lanes = [...bySize.values()].map(({ lane }) => lane);
    if (lanes.length === 1) return lanes[0] ?? null;
    const first = firstOfCover(
      lanes.map((lane) => ({ size: sizeOf(lane), costMs: lane.p50Ms })),
      items,
    );
    return first === null ? null : (lanes[first] ?? null);
  }

  /** What most runs on the lane take as seen here, with the way to the runtime and back, ms. */
  likelyMs(lane: ReadyLane): number {
    return this.#byId.get(lane.id)?.took.ms ?? lane.p50Ms;
  }

  /** Counts a run on a lane that serves; call what it returns when the run has ended. */
  begin(id: string): () => void {
    const entry = this.#byId.get(id);
    if (entry === undefined) return () => undefined;
    entry.running += 1;
    const begunAt = performance.now();
    return () => {
      entry.took.see(performance.now() - begunAt);
      entry.running -= 1;
      if (entry.running === 0) for (const resolve of entry.whenIdle.splice(0)) resolve();
    };
  }

  #of(key: string, padded: boolean): Entry[] {
    const all = this.#byKey.get(key) ?? [];
    return padded ? all.filter(({ lane }) => lane.pad !== null) : all;
  }
}

function largestOf(entries: Iterable<Entry>): number {
  let largest = 1;
  for (const { lane } of entries) largest = Math.max(largest, sizeOf(lane));
  return largest;
}
