import type { ReadyLane } from '../ports.js';

interface Entry {
  readonly lane: ReadyLane;
  running: number;
  whenIdle: (() => void)[];
}

/** Model, version and shape of a request in one text. */
export function laneKey(of: { model: string; version: string; shapeKey: string }): string {
  return `${of.model}/${of.version}/${of.shapeKey}`;
}

/**
 * The lanes that serve now, by id and by shape, and what runs on each. A lane that comes back after its runtime died has
 * its old id and is another entry: what ends late counts for the life in which it began.
 */
export class LaneIndex {
  readonly #byId = new Map<string, Entry>();
  readonly #byKey = new Map<string, Entry[]>();

  add(lane: ReadyLane): void {
    void this.remove(lane.id);
    const entry = { lane, running: 0, whenIdle: [] };
    this.#byId.set(lane.id, entry);
    const key = laneKey(lane);
    this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), entry]);
  }

  /** The lane gets no new work. Resolves once nothing runs on it any more. */
  remove(id: string): Promise<void> {
    const entry = this.#byId.get(id);
    if (entry === undefined) return Promise.resolve();
    this.#byId.delete(id);
    const key = laneKey(entry.lane);
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

  has(key: string): boolean {
    return this.#byKey.has(key);
  }

  /** The least busy lane of a shape, or null. */
  pick(key: string): ReadyLane | null {
    let best: Entry | null = null;
    for (const entry of this.#byKey.get(key) ?? []) if (best === null || entry.running < best.running) best = entry;
    return best?.lane ?? null;
  }

  /** Counts a run on a lane that serves; call what it returns when the run has ended. */
  begin(id: string): () => void {
    const entry = this.#byId.get(id);
    if (entry === undefined) return () => undefined;
    entry.running += 1;
    return () => {
      entry.running -= 1;
      if (entry.running === 0) for (const resolve of entry.whenIdle.splice(0)) resolve();
    };
  }
}
