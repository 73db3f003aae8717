import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from '@warmlane/observability';
import { LOGGER } from '../logger.js';
import type { HeldModel, LaneListener, ReadyLane } from '../ports.js';

/** Tells the listeners, one event after the other, and outlives their failures. */
@Injectable()
export class ListenerHub {
  private readonly listeners: LaneListener[] = [];

  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  add(listener: LaneListener): void {
    this.listeners.push(listener);
  }

  laneReady(lane: ReadyLane): Promise<void> {
    return this.tell('laneReady', (listener) => listener.laneReady(lane));
  }

  laneLeaving(lane: ReadyLane): Promise<void> {
    return this.tell('laneLeaving', (listener) => listener.laneLeaving(lane));
  }

  laneGone(lane: ReadyLane): void {
    for (const listener of this.listeners) listener.laneGone(lane);
  }

  laneMeasured(laneId: string, p50Ms: number): void {
    for (const listener of this.listeners) listener.laneMeasured(laneId, p50Ms);
  }

  modelHeld(model: HeldModel): Promise<void> {
    return this.tell('modelHeld', (listener) => listener.modelHeld(model));
  }

  modelDropped(model: HeldModel): Promise<void> {
    return this.tell('modelDropped', (listener) => listener.modelDropped(model));
  }

  private async tell(event: string, call: (listener: LaneListener) => Promise<void>): Promise<void> {
    for (const listener of this.listeners) {
      await call(listener).catch((thrown: unknown) =>
        this.logger.error({ err: thrown, event }, 'a lane listener failed'),
      );
    }
  }
}
