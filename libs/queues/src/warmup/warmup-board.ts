import { type LaneDoc, placementClassOf, type WarmupDoc, type WarmupView, type WorkerDoc } from '@warmlane/contracts';
import { LaneStore, type Liveness, ModelStore, PlanStore, WorkerStore } from '@warmlane/redis';
import type { Redis } from 'ioredis';
import type { WarmupFlows } from './warmup-flows.js';
import { type SlotView, toView, viewSlots } from './warmup-slots.js';

/** A look at the fleet serves every warm-up and listener of the model version for this long. */
const FLEET_FRESH_MS = 150;
/** States in which a worker takes lanes. */
const TAKES_LANES: ReadonlySet<WorkerDoc['state']> = new Set(['serving', 'degraded']);
/** States out of which a worker does not come back to its lanes. */
const LEAVES: ReadonlySet<WorkerDoc['state']> = new Set(['device-unhealthy', 'draining', 'gone']);

/** What there is of one model version. */
interface FleetOfModel {
  lanes: LaneDoc[];
  live: ReadonlyMap<string, number>;
  /** Live workers that can warm its lanes. */
  eligible: string[];
  /** As {@link WarmupBoard.lost}. */
  lost: (worker: string) => boolean;
  replicasOf: (shapeKey: string) => number;
  /** What a lane is placed by. */
  classOf: (shapeKey: string) => string;
}

/** A warm-up compared with the fleet. */
export interface Comparison {
  slots: SlotView[];
  fleet: FleetOfModel;
}

/** Reads what warm-ups are judged by: plan, lanes, workers, and of what children failed. */
export class WarmupBoard {
  readonly #lanes: LaneStore;
  readonly #models: ModelStore;
  readonly #plans: PlanStore;
  readonly #workers: WorkerStore;
  readonly #fleets = new Map<string, { at: number; fleet: Promise<FleetOfModel> }>();

  constructor(
    redis: Redis,
    private readonly liveness: Liveness,
    private readonly flows: WarmupFlows,
  ) {
    this.#lanes = new LaneStore(redis);
    this.#models = new ModelStore(redis);
    this.#plans = new PlanStore(redis);
    this.#workers = new WorkerStore(redis);
  }

  /** `fresh`: as things are now, not up to 150 ms ago. */
  async compare(doc: WarmupDoc, { fresh = false }: { fresh?: boolean } = {}): Promise<Comparison> {
    const [fleet, failures] = await Promise.all([
      fresh ? this.#read(doc.model, doc.version) : this.#fleet(doc.model, doc.version),
      this.flows.failures(doc.id, doc.generation),
    ]);
    const { replicasOf, lanes, live } = fleet;
    return { fleet, slots: viewSlots({ doc, replicasOf, lanes, live, failures }) };
  }

  async view(doc: WarmupDoc): Promise<WarmupView> {
    if (doc.final !== null) return doc.final;
    const { slots, fleet } = await this.compare(doc);
    const reason = fleet.eligible.length === 0 ? 'no worker' : '';
    return toView(doc, slots, doc.generation === 0 ? 'queued' : 'running', reason);
  }

  /** Tells workers that have left, in order or not, or take no lanes any more. */
  async lost(): Promise<(worker: string) => boolean> {
    const [workers, gone] = await Promise.all([this.#workers.list(), this.liveness.gone()]);
    return lostAmong(workers, gone);
  }

  #fleet(model: string, version: string): Promise<FleetOfModel> {
    const id = `${model}/${version}`;
    const now = performance.now();
    const known = this.#fleets.get(id);
    if (known !== undefined && now - known.at < FLEET_FRESH_MS) return known.fleet;
    for (const [other, { at }] of this.#fleets) if (now - at >= FLEET_FRESH_MS) this.#fleets.delete(other);
    const fleet = this.#read(model, version);
    this.#fleets.set(id, { at: now, fleet });
    return fleet;
  }

  async #read(model: string, version: string): Promise<FleetOfModel> {
    const [doc, lanes, entries, workers, live, gone] = await Promise.all([
      this.#models.get(model, version),
      this.#lanes.list({ model, version }),
      this.#plans.entries(model, version),
      this.#workers.list(),
      this.liveness.live(),
      this.liveness.gone(),
    ]);
    const eligible = workers.filter(
      ({ id, state, models }) => TAKES_LANES.has(state) && live.has(id) && models.includes(`${model}/${version}`),
    );
    const replicas = new Map(entries.map((entry) => [entry.shapeKey, entry.replicas]));
    return {
      lanes,
      live,
      eligible: eligible.map((worker) => worker.id),
      lost: lostAmong(workers, gone),
      replicasOf: (shapeKey) => replicas.get(shapeKey) ?? 1,
      classOf: (shapeKey) => (doc === null ? shapeKey : placementClassOf(doc, shapeKey)),
    };
  }
}

function lostAmong(workers: readonly WorkerDoc[], gone: readonly string[]): (worker: string) => boolean {
  const staying = workers.filter(({ id, state }) => !LEAVES.has(state) && !gone.includes(id));
  const ids = new Set(staying.map((worker) => worker.id));
  return (worker) => !ids.has(worker);
}
