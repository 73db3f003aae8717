import { hostname } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import { newId, type RuntimeHello, type WorkerDoc } from '@warmlane/contracts';
import type { Logger } from '@warmlane/observability';
import { HEARTBEAT_EVERY_MS } from '@warmlane/redis';
import { LOGGER } from '../logger.js';
import type { WorkerIdentity } from '../ports.js';
import { WorkerRedis } from '../redis.provider.js';
import { environmentDigest, slotBaseOf } from './environment.js';

/** What a worker's document says beyond its identity. */
export interface WorkerFigures {
  lanes: WorkerDoc['lanes'];
  memory: WorkerDoc['memory'];
  models: string[];
}

/** Who this worker is: its id, claimed in Redis and the same over restarts, its epoch, its state, its heartbeat. */
@Injectable()
export class IdentityService implements WorkerIdentity {
  readonly host = hostname();
  private readonly token = newId();
  private claimed: { id: string; hello: RuntimeHello; environment: string } | null = null;
  private currentEpoch = 0;
  private state: WorkerDoc['state'] = 'starting';
  private since = new Date();
  private reason = '';
  private timer: NodeJS.Timeout | null = null;
  private beating = false;
  private figures: WorkerFigures = { lanes: {}, memory: { budget: 0, used: 0 }, models: [] };
  /** Called where another process has taken this worker's id: this one has to end. */
  onTaken: (() => void) | null = null;

  constructor(
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Throws before {@link claim}. */
  get id(): string {
    return this.known.id;
  }

  get epoch(): number {
    return this.currentEpoch;
  }

  /** Digest of the environment fingerprint. */
  get environment(): string {
    return this.known.environment;
  }

  get provider(): RuntimeHello['provider'] {
    return this.known.hello.provider;
  }

  /** False until the runtime said which device it has: until then there is no document of this worker. */
  get isClaimed(): boolean {
    return this.claimed !== null;
  }

  private get known(): { id: string; hello: RuntimeHello; environment: string } {
    if (this.claimed === null) throw new Error('the worker has no identity before its runtime said hello');
    return this.claimed;
  }

  /** Takes the worker's id for the device that the runtime found. */
  async claim(hello: RuntimeHello): Promise<void> {
    const id = await this.redis.workers.claim(slotBaseOf(this.host, deviceName(hello)), this.token);
    this.claimed = { id, hello, environment: environmentDigest(hello.environment) };
    this.currentEpoch = await this.redis.workers.epoch(id);
  }

  /** Begins the next epoch: no holder of an older one is live from now on. */
  async beginEpoch(): Promise<number> {
    this.currentEpoch = await this.redis.workers.nextEpoch(this.id, this.currentEpoch);
    return this.currentEpoch;
  }

  /** Starts the heartbeat; resolves after the first beat. */
  async startHeartbeat(): Promise<void> {
    await this.beat();
    this.timer = setInterval(() => void this.beat(), HEARTBEAT_EVERY_MS);
  }

  stopHeartbeat(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /** One beat at a time: with Redis away they would pile up and all be sent at its return. */
  private async beat(): Promise<void> {
    if (this.beating) return;
    this.beating = true;
    try {
      const outcome = await this.redis.workers.heartbeat(this.id, this.currentEpoch, this.token);
      if (outcome === 'taken') this.taken();
    } catch (thrown) {
      this.logger.debug({ err: thrown }, 'a heartbeat failed');
    } finally {
      this.beating = false;
    }
  }

  private taken(): void {
    this.stopHeartbeat();
    this.logger.error({ worker: this.id }, 'another process has this worker id: this one ends');
    this.onTaken?.();
  }

  /** Notes the state; written to Redis with the next {@link publish}. @returns true where it is news */
  setState(state: WorkerDoc['state'], reason: string): boolean {
    if (state === this.state && reason === this.reason) return false;
    this.state = state;
    this.reason = reason;
    this.since = new Date();
    return true;
  }

  get workerState(): WorkerDoc['state'] {
    return this.state;
  }

  setFigures(figures: WorkerFigures): void {
    this.figures = figures;
  }

  /** Writes the worker's document. `notify: false` where only figures changed. */
  async publish({ notify }: { notify: boolean }): Promise<void> {
    const { id, hello, environment } = this.known;
    await this.redis.workers.put(
      {
        id,
        host: this.host,
        device: hello.device,
        provider: hello.provider,
        epoch: this.currentEpoch,
        state: this.state,
        since: this.since.toISOString(),
        reason: this.reason,
        memory: this.figures.memory,
        lanes: this.figures.lanes,
        pid: process.pid,
        environment,
        models: this.figures.models,
      },
      { notify },
    );
  }

  /** Gives the id up: an orderly end. */
  async leave(): Promise<void> {
    this.stopHeartbeat();
    await this.redis.workers.remove(this.id, this.token);
  }
}

/** `cpu`, or the GPU's or MIG device's UUID where the device names one. */
function deviceName(hello: RuntimeHello): string {
  if (hello.provider === 'cpu') return 'cpu';
  return /(GPU|MIG)-[0-9A-Fa-f-]+/.exec(hello.device)?.[0] ?? 'cuda';
}
