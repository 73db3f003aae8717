import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from '@warmlane/observability';
import { IdentityService } from '../identity/identity.service.js';
import { LOGGER } from '../logger.js';
import { type ProcessDown, RUNTIME, type RuntimePort } from '../ports.js';

/** What happens to lanes when a life of the runtime ends; `epochBegun` comes once the next epoch is known. */
interface LifeListener {
  /** At once, synchronously. */
  ended(down: ProcessDown): void;
  epochBegun(): Promise<void>;
}

/**
 * The lives of the runtime process. Each death begins the next epoch before anything of the new life is written.
 */
@Injectable()
export class RuntimeLife {
  private ended = 0;
  private settling: Promise<void> = Promise.resolve();
  private waiting: (() => void)[] = [];
  private listener: LifeListener | null = null;

  constructor(
    @Inject(RUNTIME) private readonly runtime: RuntimePort,
    @Inject(IdentityService) private readonly identity: IdentityService,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Number of the current life, from 0. */
  get current(): number {
    return this.ended;
  }

  get up(): boolean {
    return this.runtime.hello !== null;
  }

  /** Watches the runtime; begins the first epoch. After its first hello. */
  async begin(listener: LifeListener): Promise<void> {
    this.listener = listener;
    await this.identity.beginEpoch();
    this.runtime.onDown((down) => this.onDown(down));
  }

  /** Resolves once the given life is over: a call that rejects may be seen before the death is. */
  async over(life: number): Promise<void> {
    while (this.ended <= life) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Resolves once the epoch of the current life is known and what was lost is written. */
  async settled(): Promise<void> {
    let seen: Promise<void>;
    do {
      seen = this.settling;
      await seen;
    } while (seen !== this.settling);
  }

  private onDown(down: ProcessDown): void {
    this.logger.warn({ down, epoch: this.identity.epoch }, 'the runtime ended: its lanes are gone');
    this.listener?.ended(down);
    this.ended += 1;
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
    this.settling = this.settling.then(() => this.beginEpoch());
  }

  private async beginEpoch(): Promise<void> {
    try {
      await this.identity.beginEpoch();
      await this.listener?.epochBegun();
    } catch (thrown) {
      this.logger.error({ err: thrown }, 'the lanes of the ended runtime could not be written');
    }
  }
}
