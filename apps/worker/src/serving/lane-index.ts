import type { ReadyLane } from '../ports.js';

interface Entry {
  lane: ReadyLane;
  running: number;
  whenIdle: (() => void)[];
}

/** Model, version and shape of a request in one text. */
export function laneKey(of: { model: string; version: string; shapeKey: string }): string {
  return `${of.model}/${of.version}/${of.shapeKey}`;
}

/** The lanes that serve now, by id and by shape, and what runs on each. */
export class LaneIndex {
  readonly #byId = new Map<string, Entry>();
  readonly #byKey = new Map<string, Entry[]>();

  add(lane: ReadyLane): void {
    if (this.#byId.has(lane.id)) return;
    const entry = { lane, running: 0, whenIdle: [] };
    this.#byId.set(lane.id, entry);
    const key = laneKey(lane);
    this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), entry]);
  }

  /** The lane gets no new work; what runs on it goes on being counted until it ends. */
  remove(id: string): void {
    const entry = this.#byId.get(id);
    if (entry === undefined) return;
    const key = laneKey(entry.lane);
    const rest = (this.#byKey.get(key) ?? []).filter((other) => other !== entry);
    if (rest.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, rest);
    if (entry.running === 0) this.#byId.delete(id);
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

  begin(id: string): void {
    const entry = this.#byId.get(id);
    if (entry !== undefined) entry.running += 1;
  }

  end(id: string): void {
    const entry = this.#byId.get(id);
    if (entry === undefined) return;
    entry.running -= 1;
    if (entry.running > 0) return;
    for (const resolve of entry.whenIdle.splice(0)) resolve();
    if (!this.#byKey.get(laneKey(entry.lane))?.includes(entry)) this.#byId.delete(id);
  }

  /** Resolves once nothing runs on the lane. */
  async idle(id: string): Promise<void> {
    const entry = this.#byId.get(id);
    if (entry === undefined || entry.running === 0) return;
    await new Promise<void>((resolve) => entry.whenIdle.push(resolve));
  }
}
