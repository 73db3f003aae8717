import type { LaneDoc, LaneState } from '@warmlane/contracts';

/** What a lane came to, as far as somebody would be told of it. */
export const LANE_EVENTS = ['ready', 'suspect', 'failed', 'evicted', 'stale'] as const;
export type LaneEvent = (typeof LANE_EVENTS)[number];

const EVENT_OF: Partial<Record<LaneState, LaneEvent>> = {
  READY: 'ready',
  SUSPECT: 'suspect',
  FAILED: 'failed',
  EVICTED: 'evicted',
  STALE: 'stale',
};

export type SeenLane = Pick<LaneDoc, 'id' | 'model' | 'version' | 'state'>;

/** Tells moves of lanes from documents that were only written again: a notice comes with each of both. */
export class LaneMoves {
  readonly #states = new Map<string, LaneState>();

  /** @param onEvent called for each move that is an event, and with null for a lane that is seen for the first time */
  constructor(private readonly onEvent: (lane: SeenLane, event: LaneEvent | null) => void) {}

  get ids(): string[] {
    return [...this.#states.keys()];
  }

  /** Documents as they are now: where a lane is known already, a later notice may have been heard. Nothing of it is an event. */
  note(lanes: readonly SeenLane[]): void {
    for (const lane of lanes) {
      if (this.#states.has(lane.id)) continue;
      this.#states.set(lane.id, lane.state);
      this.onEvent(lane, null);
    }
  }

  /** The lane is in this state now. */
  hear(lane: SeenLane): void {
    const before = this.#states.get(lane.id);
    if (before === lane.state) return;
    this.#states.set(lane.id, lane.state);
    if (before === undefined) this.onEvent(lane, null);
    const event = EVENT_OF[lane.state];
    if (event !== undefined) this.onEvent(lane, event);
  }

  /** Their documents are gone. */
  forget(ids: readonly string[]): void {
    for (const id of ids) this.#states.delete(id);
  }
}
