import { Injectable } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import { FleetService } from '../fleet/fleet.service.js';
import { InFlight } from '../lifecycle/in-flight.js';
import { answeringWorkers, type FleetSnapshot, startProblems, versionProblems } from './readiness.js';

export interface Readiness {
  ready: boolean;
  /** Why not; empty while ready. */
  reasons: string[];
}

/** Probes come every second from several sides; a snapshot of the fleet serves them all for this long. */
const FRESH_MS = 250;

/** Whether this service, or one model of it, is ready; see {@link startProblems} for what that means at the start. */
@Injectable()
export class HealthService {
  #wasReady = false;
  #snapshot: { at: number; fleet: Promise<FleetSnapshot> } | null = null;

  constructor(
    private readonly fleet: FleetService,
    private readonly inFlight: InFlight,
  ) {}

  /** Not ready until the required plan was READY once, afterwards only while nothing can answer, or at its end. */
  async ready(): Promise<Readiness> {
    if (this.inFlight.draining) return { ready: false, reasons: ['this API is stopping'] };
    let fleet: FleetSnapshot;
    try {
      fleet = await this.#look();
    } catch (error) {
      const { code, message } = WarmlaneError.from(error);
      return { ready: false, reasons: [`${code}: ${message}`] };
    }
    if (!this.#wasReady) {
      const reasons = startProblems(fleet);
      if (reasons.length > 0) return { ready: false, reasons };
      this.#wasReady = true;
    }
    if (answeringWorkers(fleet).length > 0) return { ready: true, reasons: [] };
    return { ready: false, reasons: ['no live worker serves'] };
  }

  /** Every required shape of the version is warm on a live worker. Rejects as `FleetService.model`. */
  async modelReady(name: string, version: string | null): Promise<Readiness> {
    const doc = await this.fleet.model(name, version);
    const reasons = versionProblems(doc, await this.#look());
    return { ready: reasons.length === 0, reasons };
  }

  #look(): Promise<FleetSnapshot> {
    const now = performance.now();
    if (!this.fleet.connected || this.#snapshot === null || now - this.#snapshot.at > FRESH_MS) {
      this.#snapshot = { at: now, fleet: this.fleet.snapshot() };
    }
    return this.#snapshot.fleet;
  }
}
