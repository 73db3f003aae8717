import type { WarmupDoc } from '@warmlane/contracts';
import type { RedisClock, WarmupStore } from '@warmlane/redis';
import type { Comparison, WarmupBoard } from './warmup-board.js';
import { type AssignedSlot, flowId, type WarmupFlows } from './warmup-flows.js';
import { finalState, type SlotView, toView } from './warmup-slots.js';

/** Which workers hold the lanes of a shape class, first choice first: the rule that the workers themselves follow. */
export type PlaceLane = (
  lane: { model: string; version: string; shapeClass: string },
  replicas: number,
  workers: readonly string[],
) => string[];

/** A flow that settled without its lanes being ready is planned again after 1 s, doubling up to this. */
const REPLAN_AFTER_MS = 1_000;
const REPLAN_AT_MOST_MS = 30_000;
/** Whoever began a generation adds its flow at once; one that is missing for longer died between the two. */
const FLOW_MISSING_MS = 2_000;

export interface WarmupStepsDeps {
  store: WarmupStore;
  flows: WarmupFlows;
  board: WarmupBoard;
  clock: RedisClock;
  place: PlaceLane;
}

/**
 * Brings one warm-up a step further: plan its first flow once a worker lives, plan again what a lost worker or a flow that
 * settled too early left open, finish. Every process may do so at once: generations are compare-and-set, ids are fixed.
 */
export class WarmupSteps {
  readonly #missing = new Map<string, number>();

  constructor(private readonly deps: WarmupStepsDeps) {}

  /**
   * `settled`: the generation whose parent is running now, if that is why. Returns workers that are lost and may have
   * jobs of this warm-up in their queue.
   */
  async advance(id: string, settled: number | null): Promise<string[]> {
    const { store, board, clock, flows } = this.deps;
    const doc = await store.get(id);
    if (doc === null || doc.final !== null) return [];
    const comparison = await board.compare(doc, { fresh: settled !== null || doc.canceled });
    const { slots, fleet } = comparison;
    if (doc.canceled) {
      await flows.removeWaiting(id, doc.generation);
      await store.finish(id, toView(doc, slots, 'canceled', 'canceled'));
      return [];
    }
    if (clock.now() >= doc.deadlineAt) {
      await flows.removeWaiting(id, doc.generation);
      await store.finish(id, toView(doc, slots, finalState(slots), 'its deadline has passed'));
      return [];
    }
    if (doc.generation === 0) await this.#plan(doc, comparison, slots);
    else await this.#follow(doc, comparison, settled === doc.generation);
    const assigned = new Set(doc.assignments.map((one) => one.worker));
    return [...assigned].filter(fleet.lost);
  }

  /** A warm-up that has a flow. */
  async #follow(doc: WarmupDoc, comparison: Comparison, settled: boolean): Promise<void> {
    const open = comparison.slots.filter((slot) => slot.outcome === 'open');
    const settledAt = settled ? Date.now() : await this.#settledAt(doc);
    if (settledAt !== null && open.length === 0) {
      await this.deps.store.finish(doc.id, toView(doc, comparison.slots, finalState(comparison.slots), ''));
      return;
    }
    const lost = open.some((slot) => slot.worker !== null && comparison.fleet.lost(slot.worker));
    const unassigned = open.some((slot) => slot.worker === null && this.#hasRoom(doc, comparison, slot));
    const waitMs = Math.min(REPLAN_AFTER_MS * 2 ** Math.min(doc.generation - 1, 16), REPLAN_AT_MOST_MS);
    const early = settledAt !== null && Date.now() - settledAt >= waitMs;
    if (lost || unassigned || early) await this.#plan(doc, comparison, open);
  }

  /** When the flow's parent ran, ms; null while children are under way. */
  async #settledAt(doc: WarmupDoc): Promise<number | null> {
    const flow = flowId(doc.id, doc.generation);
    const parent = await this.deps.flows.parent(doc.id, doc.generation);
    if (parent !== null) {
      this.#missing.delete(flow);
      return parent.finishedOn ?? null;
    }
    const now = Date.now();
    const since = this.#missing.get(flow) ?? now;
    this.#missing.set(flow, since);
    if (now - since < FLOW_MISSING_MS) return null;
    this.#missing.delete(flow);
    return 0;
  }

  #hasRoom(doc: WarmupDoc, comparison: Comparison, slot: SlotView): boolean {
    return this.#choices(doc, comparison, slot.shapeKey).length > 0;
  }

  /** Workers that should have a lane of the shape, without those that have it ready or failed at it. */
  #choices({ model, version, replicas }: WarmupDoc, { slots, fleet }: Comparison, shapeKey: string): string[] {
    const done = slots
      .filter((slot) => slot.shapeKey === shapeKey && slot.outcome !== 'open')
      .map((slot) => slot.worker);
    return this.deps
      .place(
        { model, version, shapeClass: fleet.classOf(shapeKey) },
        replicas ?? fleet.replicasOf(shapeKey),
        fleet.eligible,
      )
      .filter((worker) => !done.includes(worker));
  }

  /** Begins the next generation with these slots, as far as there are workers for them. */
  async #plan(doc: WarmupDoc, comparison: Comparison, slots: readonly SlotView[]): Promise<void> {
    // The first flow asks for lanes that are ready as well: with other options they have to be made anew.
    const judged: Comparison =
      doc.generation === 0
        ? { ...comparison, slots: comparison.slots.map((slot) => ({ ...slot, outcome: 'open' })) }
        : comparison;
    const choices = new Map<string, string[]>();
    const assigned: AssignedSlot[] = [];
    for (const { n, shapeKey } of slots) {
      const left = choices.get(shapeKey) ?? this.#choices(doc, judged, shapeKey);
      choices.set(shapeKey, left);
      const worker = left.shift();
      if (worker !== undefined) assigned.push({ n, shapeKey, worker });
    }
    if (assigned.length === 0) return;
    const generation = doc.generation + 1;
    const assignments = assigned.map(({ shapeKey, worker }) => ({ shapeKey, worker }));
    if (await this.deps.store.assign(doc.id, generation, assignments)) {
      await this.deps.flows.add(doc, generation, assigned);
    }
  }
}
