/** What a lane takes of a device's memory. */
export interface LaneHolding {
  /** Its own. */
  bytes: number;
  /** Weights that it shares with the other lanes of this key: they count once. */
  weights: { key: string; bytes: number } | null;
}

export interface AdmissionRequest extends LaneHolding {
  lane: string;
  model: string;
  /** Cap of the model's lanes by its yaml; null for none. */
  modelCap: number | null;
  /** A successor of a serving lane may use the reserve: its predecessor leaves once it is READY. */
  successor: boolean;
}

export type Admission =
  | { admitted: true }
  /** `never`: larger than the whole budget or cap, whatever leaves. */
  | { admitted: false; never: boolean; reason: string };

/** Share of the budget that evictions may have failed to give back before the runtime is restarted. */
const RESTART_SHARE = 0.3;

const MIB = 2 ** 20;
const mib = (bytes: number): string => `${(bytes / MIB).toFixed(bytes < 10 * MIB ? 1 : 0)} MiB`;

/**
 * The ledger of a device's memory: what its lanes hold and what evicted ones did not give back. A reserve of the
 * largest lane is kept for successors, so that a lane never leaves before its successor is READY.
 */
export class MemoryBudget {
  private readonly lanes = new Map<string, LaneHolding & { model: string }>();
  private lostBytes = 0;

  /** @param limit bytes */
  constructor(readonly limit: number) {}

  /** Bytes held by lanes, without what was lost. */
  get used(): number {
    return heldBy(this.lanes.values());
  }

  /** Bytes that evictions did not give back. */
  get lost(): number {
    return this.lostBytes;
  }

  private get reserve(): number {
    let largest = 0;
    for (const lane of this.lanes.values()) largest = Math.max(largest, lane.bytes);
    return largest;
  }

  ofModel(model: string): number {
    return heldBy([...this.lanes.values()].filter((lane) => lane.model === model));
  }

  private others(lane: string): (LaneHolding & { model: string })[] {
    return [...this.lanes].flatMap(([id, held]) => (id === lane ? [] : [held]));
  }

  fits(request: AdmissionRequest): boolean {
    return this.judge(request).admitted;
  }

  /** Says whether a lane fits; books it if so. Booked again with other bytes once they are measured. */
  admit(request: AdmissionRequest): Admission {
    const admission = this.judge(request);
    const { lane, model, bytes, weights } = request;
    if (admission.admitted) this.lanes.set(lane, { model, bytes, weights });
    return admission;
  }

  private judge(request: AdmissionRequest): Admission {
    const { lane, model, modelCap, successor, weights } = request;
    const others = this.others(lane);
    // What it would add: weights that another lane brought are there already.
    const bytes = request.bytes + (weights === null || holds(others, weights.key) ? 0 : weights.bytes);
    const alone = request.bytes + (weights?.bytes ?? 0);
    if (modelCap !== null) {
      const ofModel = heldBy(others.filter((other) => other.model === model));
      if (bytes + ofModel > modelCap) {
        return {
          admitted: false,
          never: alone > modelCap,
          reason: `memory: the lane needs ${mib(bytes)}, ${mib(Math.max(0, modelCap - ofModel))} of the model's ${mib(modelCap)} are left; raise 'memory' in its warmlane.yaml or take shapes out of its plan`,
        };
      }
    }
    const held = heldBy(others);
    const free = this.limit - held - this.lostBytes;
    // The first lane needs no reserve beside it, else the budget could never hold one lane of half its size.
    const reserve = successor || held === 0 ? 0 : Math.max(this.reserve, request.bytes);
    if (bytes > free - reserve) {
      return {
        admitted: false,
        never: alone > this.limit,
        reason: `memory: the lane needs ${mib(bytes)}, ${mib(Math.max(0, free - reserve))} of ${mib(this.limit)} are left beside a reserve of ${mib(reserve)}; raise --gpu-memory or take shapes out of the plan`,
      };
    }
    return { admitted: true };
  }

  /** @param returned bytes that the device has more of than before; what is missing counts as lost */
  release(lane: string, returned: number | null): void {
    const before = this.used;
    this.lanes.delete(lane);
    // The last lane of a model gives its weights back too.
    const held = before - this.used;
    if (returned !== null) this.lostBytes += Math.max(0, held - Math.max(0, returned));
  }

  /** True once the runtime should be restarted at a planned moment to get back what was lost. */
  get restartDue(): boolean {
    return this.lostBytes > RESTART_SHARE * this.limit;
  }

  /** The runtime is a new one: nothing is held, nothing lost. */
  reset(): void {
    this.lanes.clear();
    this.lostBytes = 0;
  }
}

function heldBy(lanes: Iterable<LaneHolding>): number {
  const weights = new Map<string, number>();
  let sum = 0;
  for (const lane of lanes) {
    sum += lane.bytes;
    if (lane.weights !== null) weights.set(lane.weights.key, lane.weights.bytes);
  }
  for (const bytes of weights.values()) sum += bytes;
  return sum;
}

function holds(lanes: readonly LaneHolding[], key: string): boolean {
  return lanes.some((lane) => lane.weights?.key === key);
}
