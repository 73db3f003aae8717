import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import type { WorkerDoc } from '@warmlane/contracts';
import type { Logger } from '@warmlane/observability';
import { Children } from './children/children.provider.js';
import { DeviceHealth } from './device-health.js';
import { Fleet } from './fleet/fleet.js';
import { Reconciler } from './fleet/reconciler.js';
import { IdentityService } from './identity/identity.service.js';
import { LaneManager } from './lanes/lane-manager.js';
import { LaneMemory } from './lanes/lane-memory.js';
import { LOGGER } from './logger.js';
import { ModelRepository } from './models/model-repository.js';
import { WorkerRedis } from './redis.provider.js';
import { Serving } from './serving.provider.js';
import { Tuner } from './tuning/tuner.js';
import { WarmLaneProcessor } from './warmup/warm-lane.processor.js';

/** From SIGTERM to exit: what is not finished by then is left to others. */
const CLOSE_MS = 18_000;
/** Of these, for what runs on the lanes. */
const DRAIN_MS = 10_000;
/** For the children when there is no time left for order. */
const CHILDREN_MS = 3_000;

/** The worker's life: start in order, state, end in order. */
@Injectable()
export class WorkerService {
  private closing: Promise<void> | null = null;

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(Children) private readonly children: Children,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(LaneMemory) private readonly memory: LaneMemory,
    @Inject(LaneManager) private readonly manager: LaneManager,
    @Inject(ModelRepository) private readonly repository: ModelRepository,
    @Inject(Reconciler) private readonly reconciler: Reconciler,
    @Inject(Tuner) private readonly tuner: Tuner,
    @Inject(WarmLaneProcessor) private readonly warmLane: WarmLaneProcessor,
    @Inject(Fleet) private readonly fleet: Fleet,
    @Inject(Serving) private readonly serving: Serving,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Resolves once the worker takes lanes and requests. Rejects where it cannot: the device, a library, Redis's kind.
   * @param end ends the process with an exit code, for what only a new process cures
   */
  async start(end: (code: number) => void): Promise<void> {
    await this.redis.open();
    const hello = await this.children.start();
    await this.identity.claim(hello);
    this.identity.onTaken = () => end(1);
    await this.memory.begin(hello.memory.free, this.identity.environment);
    await this.manager.begin();
    await this.identity.startHeartbeat();
    await this.identity.publish({ notify: true });
    const health = this.watchRuntime(end);
    this.serving.start();
    await this.repository.open();
    // Asked to end meanwhile: nothing may begin any more.
    if (this.closing !== null) return await this.closing;
    // The first look registers every model with its plan: who asks whether all is warm must not be told before.
    await this.reconciler.start();
    health.start();
    this.warmLane.start();
    this.logger.info(
      { worker: this.identity.id, device: hello.device, environment: hello.environment },
      'worker started',
    );
  }

  private watchRuntime(end: (code: number) => void): DeviceHealth {
    const show = (state: WorkerDoc['state'], reason: string): void => this.setState(state, reason);
    const health = new DeviceHealth({ logger: this.logger, show, end });
    const { runtime } = this.children;
    runtime.onDown((down) => health.down(down));
    runtime.onUp(() => health.up());
    runtime.onLost(() => health.lost());
    return health;
  }

  private setState(state: Parameters<IdentityService['setState']>[0], reason: string): void {
    if (this.closing !== null && state !== 'draining') return;
    if (!this.identity.setState(state, reason) || !this.identity.isClaimed) return;
    this.identity
      .publish({ notify: true })
      .then(() => this.reconciler.look())
      .catch((thrown: unknown) => this.logger.error({ err: thrown }, "the worker's state could not be written"));
  }

  /**
   * Unsubscribes, finishes what runs, EVICTs the lanes, closes the children. At most 20 s, also with Redis away.
   * Idempotent.
   */
  close(): Promise<void> {
    this.closing ??= this.closeInOrder();
    return this.closing;
  }

  private async closeInOrder(): Promise<void> {
    this.setState('draining', 'asked to end');
    const limit = new AbortController();
    const late = delay(CLOSE_MS - CHILDREN_MS, 'late' as const, { signal: limit.signal }).catch(() => 'late' as const);
    // Without Redis nothing can be written or unsubscribed; what runs is finished by the limit of each step.
    const ordered = this.redis.outage.connected ? this.leave() : Promise.resolve('left' as const);
    const ended = await Promise.race([
      ordered.catch((thrown: unknown) => {
        this.logger.error({ err: thrown }, 'the worker could not leave in order');
        return 'failed' as const;
      }),
      late,
    ]);
    if (ended === 'late') this.logger.warn('not everything ended in time; others will run it again');
    this.identity.stopHeartbeat();
    await Promise.race([this.children.close(), delay(CHILDREN_MS, undefined, { ref: false })]);
    limit.abort();
    this.fleet.close();
    this.redis.close();
  }

  private async leave(): Promise<'left'> {
    await this.reconciler.close();
    await this.tuner.close();
    await this.warmLane.close();
    await this.manager.close(DRAIN_MS);
    await this.repository.close();
    await this.serving.close(DRAIN_MS);
    await this.identity.leave();
    return 'left';
  }
}
