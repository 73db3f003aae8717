import { Injectable } from '@nestjs/common';
import {
  type LaneDoc,
  type ModelDoc,
  type PlanEntry,
  type TuningDoc,
  WarmlaneError,
  type WorkerDoc,
} from '@warmlane/contracts';
import { findModel } from '@warmlane/queues';
import { type LaneFilter, LaneStore, Liveness, ModelStore, PlanStore, TuningStore, WorkerStore } from '@warmlane/redis';
import type { FleetSnapshot } from '../health/readiness.js';
import { FirstLoad } from './first-load.js';
import { RedisGate } from './redis.gate.js';

/** The fleet as Redis has it: models, plans, lanes, workers. */
@Injectable()
export class FleetService {
  constructor(
    private readonly gate: RedisGate,
    private readonly firstLoad: FirstLoad,
    private readonly models: ModelStore,
    private readonly plans: PlanStore,
    private readonly lanes: LaneStore,
    private readonly workers: WorkerStore,
    private readonly tuningStore: TuningStore,
    private readonly liveness: Liveness,
  ) {}

  get connected(): boolean {
    return this.gate.connected;
  }

  /** Everything at one moment; for readiness and lists. */
  snapshot(): Promise<FleetSnapshot> {
    return this.gate.use(async () => {
      const [models, lanes, workers, live] = await Promise.all([
        this.models.list(),
        this.lanes.list(),
        this.workers.list(),
        this.liveness.live(),
      ]);
      return { models, lanes, workers, live, plans: await this.#plansOf(models) };
    });
  }

  /** A version in whatever state, null for the default one. Rejects `unknown-model`, `unknown-version`, `not-ready`. */
  model(name: string, version: string | null): Promise<ModelDoc> {
    return this.firstLoad.during(() => this.gate.use(() => findModel(this.models, name, version)));
  }

  /** All versions of a name; rejects `unknown-model`, or `not-ready` while it may yet come. */
  versions(name: string): Promise<ModelDoc[]> {
    return this.firstLoad.during(async () => {
      const docs = await this.gate.use(() => this.models.versions(name));
      if (docs.length === 0)
        throw new WarmlaneError('unknown-model', `unknown model '${name}'`, 'GET /v1/models lists them.');
      return docs;
    });
  }

  list(): Promise<ModelDoc[]> {
    return this.gate.use(() => this.models.list());
  }

  plan(doc: { name: string; version: string }): Promise<PlanEntry[]> {
    return this.gate.use(() => this.plans.entries(doc.name, doc.version));
  }

  lanesOf(filter: LaneFilter): Promise<LaneDoc[]> {
    return this.gate.use(() => this.lanes.list(filter));
  }

  async lane(id: string): Promise<LaneDoc> {
    const doc = await this.gate.use(() => this.lanes.get(id));
    if (doc === null) throw new WarmlaneError('not-found', `unknown lane '${id}'`, 'GET /v1/lanes lists them.');
    return doc;
  }

  /** Workers of the last 24 h; one that is not live any more is shown as gone. */
  workersNow(): Promise<WorkerDoc[]> {
    return this.gate.use(async () => {
      const [docs, live] = await Promise.all([this.workers.list(), this.liveness.live()]);
      return docs.map((doc) => (live.has(doc.id) ? doc : { ...doc, state: 'gone', reason: 'no heartbeat' }));
    });
  }

  tunings(): Promise<TuningDoc[]> {
    return this.gate.use(() => this.tuningStore.list());
  }

  async #plansOf(models: readonly ModelDoc[]): Promise<Map<string, PlanEntry[]>> {
    const plans = await Promise.all(
      models.map(
        async (doc): Promise<[string, PlanEntry[]]> => [
          `${doc.name}/${doc.version}`,
          await this.plans.entries(doc.name, doc.version),
        ],
      ),
    );
    return new Map(plans);
  }
}
