import { Inject, Injectable } from '@nestjs/common';
import type { ModelDoc, PlanEntry } from '@warmlane/contracts';
import { isServing, placeShape, planInForce, type WantedLane, wantedLanes } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { IdentityService } from '../identity/identity.service.js';
import { IdleWork } from '../lanes/idle-work.js';
import { type Lane, placeOf } from '../lanes/lane.js';
import { type Dismissal, LaneManager } from '../lanes/lane-manager.js';
import { LaneMemory } from '../lanes/lane-memory.js';
import { LaneRegistry } from '../lanes/lane-registry.js';
import { LaneUpkeep } from '../lanes/lane-upkeep.js';
import { LOGGER } from '../logger.js';
import { versionName } from '../models/held-version.js';
import { HeldVersions } from '../models/held-versions.js';
import { LoadAnswers } from '../models/load-answers.js';
import { ModelRepository } from '../models/model-repository.js';
import { WorkerRedis } from '../redis.provider.js';
import { Tuner } from '../tuning/tuner.js';
import { Tunings } from '../tuning/tunings.js';
import { Fleet, type FleetView } from './fleet.js';
import { GoneWorkers } from './gone-workers.js';
import { Takeover } from './takeover.js';

const EVERY_MS = 2_000;

/** One registered version with its plan. */
interface Planned {
  doc: ModelDoc;
  entries: PlanEntry[];
  inForce: PlanEntry[];
  /** Live workers that can hold its lanes. */
  workers: string[];
}

/**
 * Brings this worker in step with the plan, every 2 s and on notice. The plan is the truth: what jobs and notices say
 * only makes it look sooner.
 */
@Injectable()
export class Reconciler {
  private running: Promise<void> | null = null;
  private again = false;
  private timer: NodeJS.Timeout | null = null;
  private unsubscribe: (() => void)[] = [];
  private closed = false;
  private places: ReadonlySet<string> = new Set();

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(ModelRepository) private readonly repository: ModelRepository,
    @Inject(LoadAnswers) private readonly loads: LoadAnswers,
    @Inject(HeldVersions) private readonly held: HeldVersions,
    @Inject(Fleet) private readonly fleet: Fleet,
    @Inject(LaneManager) private readonly manager: LaneManager,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneMemory) private readonly memory: LaneMemory,
    @Inject(LaneUpkeep) private readonly upkeep: LaneUpkeep,
    @Inject(IdleWork) private readonly idle: IdleWork,
    @Inject(Tunings) private readonly tunings: Tunings,
    @Inject(Tuner) private readonly tuner: Tuner,
    @Inject(GoneWorkers) private readonly gone: GoneWorkers,
    @Inject(Takeover) private readonly takeover: Takeover,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async start(): Promise<void> {
    const { notices } = this.redis;
    this.unsubscribe = [
      await notices.subscribe((notice) => {
        if (notice.kind === 'load') return;
        if (notice.kind === 'model' && notice.version === null) this.announceLoad(notice.model);
        if (notice.kind === 'tuning') this.tunings.readAgain();
        // Lanes change state all the time; only what they stand for in the plan needs a look, and the next tick sees it.
        if (notice.kind !== 'lane' || isServing(notice.state)) this.look();
      }),
      notices.onResync(() => this.look()),
    ];
    this.timer = setInterval(() => this.look(), EVERY_MS);
    await this.lookNow();
  }

  /** What fails here is said by the look that follows. */
  private announceLoad(name: string): void {
    this.loads.announce(name).catch((thrown: unknown) => {
      this.logger.warn({ err: thrown, model: name }, 'a wish to load a model could not be answered at once');
    });
  }

  /** True where the lane at this place belongs on this worker, as of the last look. */
  isWanted(place: string): boolean {
    return this.places.has(place);
  }

  /** Look soon; looks are made one at a time. */
  look(): void {
    if (this.closed) return;
    if (this.running !== null) {
      this.again = true;
      return;
    }
    this.running = this.tick()
      .catch((thrown: unknown) =>
        this.logger.error({ err: thrown }, 'the plan could not be followed; it is tried again'),
      )
      .finally(() => {
        this.running = null;
        if (!this.again) return;
        this.again = false;
        this.look();
      });
  }

  /** Resolves after a look that began after the call. */
  async lookNow(): Promise<void> {
    await this.running;
    this.look();
    await this.running;
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.timer !== null) clearInterval(this.timer);
    for (const stop of this.unsubscribe) stop();
    await this.running;
  }

  private async tick(): Promise<void> {
    const docs = await this.repository.sync();
    await this.publish();
    const fleet = await this.fleet.view();
    await this.failUnheld(docs, fleet);
    const planned = await this.planned(docs, fleet);
    const wanted = this.wanted(planned);
    this.places = new Set(
      wanted.map(({ model, version, entry }) => placeOf({ model, version, shapeKey: entry.shapeKey })),
    );
    this.manager.dismiss(this.dismissals(planned, fleet));
    await this.manager.want(wanted);
    await this.upkeep.restore();
    await this.upkeep.verifyRequested();
    await this.upkeep.evictRequested();
    this.tuner.look(wanted);
    this.idle.look(this.repository.serving);
    await this.gone.sync(fleet);
    await this.takeover.sync(docs, fleet);
  }

  private async publish(): Promise<void> {
    const { limit, used, lost } = this.memory.budget;
    this.identity.setFigures({
      lanes: this.registry.counts(),
      memory: { budget: limit, used: used + lost },
      models: this.repository.serving.map(versionName),
    });
    await this.identity.publish({ notify: false });
  }

  /** A version that this worker has and cannot serve, and that no live one holds, is FAILED; whoever can registers it again. */
  private async failUnheld(docs: readonly ModelDoc[], fleet: FleetView): Promise<void> {
    for (const { name, version, state } of docs) {
      if (state !== 'LOADED') continue;
      const reason = this.repository.failureOf(name, version);
      const held = fleet.workers.some((worker) => worker.models.includes(versionName({ name, version })));
      if (reason !== null && !held) await this.redis.models.setState(name, version, 'FAILED', reason, ['LOADED']);
    }
  }

  private async planned(docs: readonly ModelDoc[], fleet: FleetView): Promise<Planned[]> {
    return await Promise.all(
      docs.map(async (doc) => {
        const entries = await this.redis.plans.entries(doc.name, doc.version);
        const name = versionName(doc);
        const workers = fleet.workers.filter((worker) => worker.models.includes(name)).map((worker) => worker.id);
        // A copy with other bytes than registered has its lanes FAILED here, so that this is seen.
        const refused = (this.held.find(doc.name, doc.version)?.refusal ?? null) !== null && doc.state !== 'UNLOADED';
        if (refused) workers.push(this.identity.id);
        const loaded: ModelDoc = refused ? { ...doc, state: 'LOADED' } : doc;
        return { doc: loaded, entries, inForce: planInForce(loaded, entries), workers };
      }),
    );
  }

  private wanted(planned: readonly Planned[]): WantedLane[] {
    return wantedLanes(
      this.identity.id,
      planned.map(({ doc, inForce, workers }) => ({ doc, entries: inForce, workers })),
    );
  }

  private dismissals(planned: readonly Planned[], fleet: FleetView): Dismissal[] {
    const found: Dismissal[] = [];
    for (const lane of this.registry.all) {
      if (this.places.has(lane.place) || lane.state === 'DRAINING') continue;
      const why = this.dismissal(lane, planned, fleet);
      if (why !== null) found.push({ lane, ...why });
    }
    if (found.length === 0) found.push(...this.roomFor());
    return found;
  }

  /** Why a lane that is not wanted here has to go; null where it stays. */
  private dismissal(lane: Lane, planned: readonly Planned[], fleet: FleetView): Omit<Dismissal, 'lane'> | null {
    const plan = planned.find(({ doc }) => doc.name === lane.model && doc.version === lane.version);
    // Redis has lost the model, or has it back only in part: the next look registers what is held here.
    if (plan === undefined && this.held.find(lane.model, lane.version) !== null) return null;
    if (plan?.doc.state === 'LOADING') return null;
    if (plan === undefined || plan.doc.state !== 'LOADED')
      return { trigger: 'version', reason: 'the model was unloaded' };
    const entry = plan.entries.find((one) => one.shapeKey === lane.shapeKey);
    if (plan.doc.retired && !plan.inForce.some((one) => one.shapeKey === lane.shapeKey)) {
      return { trigger: 'version', reason: 'a newer version has taken over' };
    }
    // READY lanes outlive the end of the warm-up that asked for them; they are the first to go when memory is short.
    if (entry === undefined)
      return isServing(lane.state) ? null : { trigger: 'plan', reason: 'its shape left the plan' };
    if (entry.held.includes(this.identity.id)) return { trigger: 'evict', reason: 'evicted, held back on this worker' };
    const targets = placeShape(plan.doc, entry, plan.workers);
    const moved = targets.every((worker) =>
      fleet.serving.some((other) => other.worker === worker && placeOf(other) === lane.place),
    );
    // Never before its successors are READY.
    if (isServing(lane.state) && (targets.length === 0 || !moved)) return null;
    return {
      trigger: 'plan',
      reason: targets.length === 0 ? 'no worker takes lanes' : `it belongs on ${targets.join(', ')}`,
    };
  }

  /** One lane that nobody planned leaves where a planned one has no memory. */
  private roomFor(): Dismissal[] {
    if (!this.registry.all.some((lane) => lane.wantsMemory && lane.state === 'FAILED')) return [];
    const spare = this.registry.serving
      .filter((lane) => !this.places.has(lane.place))
      .sort((a, b) => a.traffic - b.traffic);
    const [lane] = spare;
    return lane === undefined ? [] : [{ lane, trigger: 'plan', reason: 'a planned lane needs its memory' }];
  }
}
