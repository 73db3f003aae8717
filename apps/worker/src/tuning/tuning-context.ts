import type { TuningCandidate } from '@warmlane/contracts';
import type { Sample, TuningTraits } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import type { TuningStore } from '@warmlane/redis';
import type { TrialTurn } from '../lanes/trial-turn.js';
import type { Verifier } from '../lanes/verifier.js';
import type { TrialsPort } from '../ports.js';
import type { Pace } from './pace.js';
import type { TimeBudget } from './time-budget.js';
import type { TrialRoom } from './trial-lane.js';
import type { TrialProcess } from './trial-process.js';
import type { TuningTarget } from './tuning-target.js';

export interface TuningRunDeps {
  store: TuningStore;
  verifier: Verifier;
  trials: TrialsPort;
  turn: TrialTurn;
  pace: Pace;
  logger: Logger;
}

export interface TuningRunOptions {
  worker: string;
  device: string;
  traits: TuningTraits;
  /** The fence of its writes. */
  token: string;
  signal: AbortSignal;
  /** For all trials together, ms. */
  budgetMs: number;
  /** For one candidate with one shape, ms. */
  candidateMs: number;
  /** Bytes that trials may take now. */
  memoryBytes: () => number;
  /** Where models are prepared for lanes that share weights. */
  preparedModels: string;
  /** Bytes that lanes of the model which were tuned before are going to hold. */
  takenBytes: number;
}

/** One shape of the run. */
export interface ShapeRun {
  target: TuningTarget;
  samples: readonly Sample[];
  found: TuningCandidate[];
}

/** What the parts of one tuning share. */
export interface TuningContext {
  readonly deps: TuningRunDeps;
  readonly options: TuningRunOptions;
  readonly budget: TimeBudget;
  readonly shapes: readonly ShapeRun[];
  /** What a trial has of the device now. */
  readonly room: TrialRoom;
  openProcess(): Promise<TrialProcess>;
  /** Says in Redis what is about to be tried; rejects with `canceled` where another worker has the claim. */
  openStep(candidate: string, shapeKey: string, deaths: number): Promise<void>;
  closeStep(): Promise<void>;
}
