import { Injectable } from '@nestjs/common';
import { isServing, isStanding, warmingOrder } from '@warmlane/lanes';
import type { Lane } from './lane.js';

/** The lanes of this worker that are not gone. */
@Injectable()
export class LaneRegistry {
  private readonly byId = new Map<string, Lane>();

  get all(): Lane[] {
    return [...this.byId.values()];
  }

  get serving(): Lane[] {
    return this.all.filter((lane) => isServing(lane.state));
  }

  /** Lanes that can be run, proven or not. */
  get standing(): Lane[] {
    return this.all.filter((lane) => isStanding(lane.state));
  }

  find(id: string): Lane | null {
    return this.byId.get(id) ?? null;
  }

  /** Without those that have left and wait only for that to be written. */
  at(place: string): Lane[] {
    return this.all.filter((lane) => lane.place === place && lane.state !== 'EVICTED');
  }

  servingAt(place: string): Lane | null {
    return this.at(place).find((lane) => isServing(lane.state)) ?? null;
  }

  add(lane: Lane): void {
    this.byId.set(lane.id, lane);
  }

  remove(lane: Lane): void {
    this.byId.delete(lane.id);
  }

  /** The QUEUED lane whose turn it is at `now` (performance.now) and that is not `taken`, or null. */
  nextQueued(now: number, taken: ReadonlySet<Lane>): Lane | null {
    const queued = this.all.filter((lane) => lane.state === 'QUEUED' && lane.notBefore <= now && !taken.has(lane));
    queued.sort((a, b) => warmingOrder(orderOf(a), orderOf(b)));
    return queued[0] ?? null;
  }

  /** ms until a QUEUED lane may be tried again; null where none waits. */
  nextDelay(now: number): number | null {
    const waits = this.all.filter((lane) => lane.state === 'QUEUED').map((lane) => Math.max(0, lane.notBefore - now));
    return waits.length === 0 ? null : Math.min(...waits);
  }

  /** Lanes by state, for the worker's document. */
  counts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const lane of this.byId.values()) counts[lane.state] = (counts[lane.state] ?? 0) + 1;
    return counts;
  }
}

function orderOf(lane: Lane): { shapeKey: string; priority: number; addedAt: string; traffic: number } {
  return { shapeKey: lane.spec.shapeKey, priority: lane.priority, addedAt: lane.addedAt, traffic: lane.traffic };
}
