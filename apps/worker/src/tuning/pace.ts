import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import { isWarming } from '@warmlane/lanes';
import { LaneRegistry } from '../lanes/lane-registry.js';
import { LaneWatcher } from '../lanes/lane-watcher.js';

/** Without a request for so long the device counts as quiet. */
const QUIET_MS = 1_000;
/** A trial waits so long for a quiet moment; where requests never cease it goes on, at half the speed. */
const PATIENCE_MS = 15_000;
/** Lanes that are being warmed come first, so long at most: one that is tried again and again must not end all tuning. */
const WARMING_PATIENCE_MS = 300_000;
const LOOK_MS = 100;

/** Keeps trials out of the way of requests and of lanes that are being warmed. */
@Injectable()
export class Pace {
  constructor(
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneWatcher) private readonly watcher: LaneWatcher,
  ) {}

  get busy(): boolean {
    return this.watcher.quietMs < QUIET_MS;
  }

  /** Resolves when the next trial may begin. Rejects with `canceled`. */
  async turn(signal: AbortSignal): Promise<void> {
    await this.while(() => this.registry.all.some((lane) => isWarming(lane.state)), WARMING_PATIENCE_MS, signal);
    await this.while(() => this.busy, PATIENCE_MS, signal);
  }

  /** After work of so long: leaves the device alone for as long again while it serves. */
  async rest(workedMs: number, signal: AbortSignal): Promise<void> {
    if (this.busy) await pause(workedMs, signal);
  }

  private async while(blocked: () => boolean, patienceMs: number, signal: AbortSignal): Promise<void> {
    const giveUpAt = performance.now() + patienceMs;
    while (blocked() && performance.now() < giveUpAt) await pause(LOOK_MS, signal);
    if (signal.aborted) throw ended();
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
  if (signal.aborted) throw ended();
}

function ended(): WarmlaneError {
  return new WarmlaneError('canceled', 'the tuning was ended');
}
