import type { Lane } from './lane.js';
import type { CreatedLane, StandingLane } from './lane-warmer.js';

/** One try of warming one lane, from its place in the queue to READY or to what became of it instead. */
export interface WarmAttempt {
  readonly lane: Lane;
  /** The life of the runtime in which it began: in another one nothing is left of it. */
  readonly life: number;
  /** The process that its next native step goes to. */
  where: 'runtime' | 'trial';
  created: CreatedLane | null;
  standing: StandingLane | null;
  /** It was given up, or its lane is READY. */
  over: boolean;
  /** Ends what the stall monitor says of it. */
  readonly leave: () => void;
}
