/** Bytes of memory that lanes may take on one device. */
export interface AdmissionRequest {
  lane: string;
  model: string;
  bytes: number;
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
  private readonly lanes = new Map<string, { model: string; bytes: number }>();
  private lostBytes = 0;

  /** @param limit bytes */
  constructor(readonly limit: number) {}

  /** Bytes held by lanes, without what was lost. */
  get used(): number {
    let sum = 0;
    for (const lane of this.lanes.values()) sum += lane.bytes;
    return sum;
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
    let sum = 0;
    for (const lane of this.lanes.values()) if (lane.model === model) sum += lane.bytes;
    return sum;
  }

  fits(request: AdmissionRequest): boolean {
    return this.judge(request).admitted;
  }

  /** Says whether a lane fits; books it if so. Booked again with other bytes once they are measured. */
  admit(request: AdmissionRequest): Admission {
    const admission = this.judge(request);
    if (admission.admitted) this.lanes.set(request.lane, { model: request.model, bytes: request.bytes });
    return admission;
  }

  private judge(request: AdmissionRequest): Admission {
    const { lane, model, bytes, modelCap, successor } = request;
    if (modelCap !== null) {
      const others = this.ofModel(model) - (this.lanes.get(lane)?.bytes ?? 0);
      if (bytes + others > modelCap) {
        return {
          admitted: false,
          never: bytes > modelCap,
          reason: `memory: the lane needs ${mib(bytes)}, ${mib(Math.max(0, modelCap - others))} of the model's ${mib(modelCap)} are left; raise 'memory' in its warmlane.yaml or take shapes out of its plan`,
        };
      }
    }
    const held = this.used - (this.lanes.get(lane)?.bytes ?? 0);
    const free = this.limit - held - this.lostBytes;
    // The first lane needs no reserve beside it, else the budget could never hold one lane of half its size.
    const reserve = successor || held === 0 ? 0 : Math.max(this.reserve, bytes);
    if (bytes > free - reserve) {
      return {
        admitted: false,
        never: bytes > this.limit,
        reason: `memory: the lane needs ${mib(bytes)}, ${mib(Math.max(0, free - reserve))} of ${mib(this.limit)} are left beside a reserve of ${mib(reserve)}; raise --gpu-memory or take shapes out of the plan`,
      };
    }
    return { admitted: true };
  }

  /** @param returned bytes that the device has more of than before; what is missing counts as lost */
  release(lane: string, returned: number | null): void {
    const held = this.lanes.get(lane)?.bytes ?? 0;
    this.lanes.delete(lane);
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
