import type {
  BatchAxes,
  LaneItem,
  LaneItemsRun,
  LaneRun,
  ModelConfig,
  ModelMetadata,
  NamedTensor,
  PadPlan,
  ReferenceHello,
  ReferenceMethods,
  RuntimeHello,
  RuntimeMethods,
  TensorSpec,
} from '@warmlane/contracts';

// The boundaries between the three parts of the worker: processes (supervision), lanes and serving. A part depends on
// the interface here and is injected by its token, never on another part's files.

export const LANES = Symbol('LanesPort');
export const RUNTIME = Symbol('RuntimePort');
export const REFERENCE = Symbol('ReferencePort');
export const FALLBACK = Symbol('FallbackPort');
export const TRIALS = Symbol('TrialsPort');

// ---- processes -----------------------------------------------------------------------------------------------------

/** How a child ended. */
export interface ProcessDown {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** True for a SIGKILL or SIGTERM that was not our watchdog's: it is charged to nobody. */
  external: boolean;
  /** This worker wanted another life of it: charged to nobody either. */
  planned: boolean;
  /** A request was being run or waited for its run, and no other call's limit was what ended the process. */
  serving: boolean;
  /** For logs and lane reasons: `killed by SIGSEGV`, `lane.run passed its limit of 10000 ms`. */
  reason: string;
}

/** A call past `timeoutMs` ends the process. `serves`: what is run is a request's, which a death is then charged to first. */
export interface ProcessCall {
  timeoutMs: number;
  serves?: boolean;
}

/** One supervised child: started, restarted with backoff, each call watched. */
export interface ProcessPort<M extends { [K in keyof M]: { params: unknown; result: unknown } }, Hello> {
  /** What the child said at its start; null while there is none. */
  readonly hello: Hello | null;
  /**
   * Rejects with the child's WarmlaneError, with `worker-gone` where the child died before it answered (see
   * {@link isProcessDeath}), with `not-ready` while there is none. A call past `timeoutMs` kills the child.
   */
  call<K extends keyof M & string>(method: K, params: M[K]['params'], options: ProcessCall): Promise<M[K]['result']>;
  /** Returns the function that takes the listener off again. Called at once if the child is up already. */
  onUp(listener: (hello: Hello) => void): () => void;
  onDown(listener: (down: ProcessDown) => void): () => void;
  /** It is not gone after SIGKILL: the device is lost, nothing is started again. */
  onLost(listener: () => void): void;
  /** Resolves at the first hello. Rejects if the program cannot run here (a missing library: names it). */
  start(): Promise<Hello>;
  /** Ends the child for good, in order, killed past its limit. Idempotent. */
  close(): Promise<void>;
}

export interface RuntimePort extends ProcessPort<RuntimeMethods, RuntimeHello> {
  /** A planned new life, for memory that the process does not give back. Resolves with its hello. */
  renew(): Promise<RuntimeHello>;
}
export type ReferencePort = ProcessPort<ReferenceMethods, ReferenceHello>;

/** A disposable runtime (`warmlane trial`): same program and device; its death is a result, it is never restarted. */
export interface TrialRuntime extends AsyncDisposable {
  readonly hello: RuntimeHello;
  call<K extends keyof RuntimeMethods & string>(
    method: K,
    params: RuntimeMethods[K]['params'],
    options: { timeoutMs: number },
  ): Promise<RuntimeMethods[K]['result']>;
}

export interface TrialsPort {
  /** Rejects as {@link ProcessPort.start}. `niceness`: 1 to 19, how far it gives way to other processes; default 0. */
  open(options?: { niceness?: number }): Promise<TrialRuntime>;
}

/** Property on the error of a call whose process died; how it died. */
export const processDeath = Symbol('processDeath');

/** How the process died under a call, or null if the call failed for another reason. */
export function isProcessDeath(thrown: unknown): ProcessDown | null {
  if (typeof thrown !== 'object' || thrown === null || !(processDeath in thrown)) return null;
  return (thrown as { [processDeath]: ProcessDown })[processDeath];
}

// ---- lanes -> serving ------------------------------------------------------------------------------------------------

/** This worker in the fleet. `epoch` changes when the runtime is replaced. */
export interface WorkerIdentity {
  readonly id: string;
  /** 0 before the first runtime is up. */
  readonly epoch: number;
}

/** A lane that serves. */
export interface ReadyLane {
  id: string;
  model: string;
  version: string;
  shapeKey: string;
  /** Shape class: which class queue it consumes. */
  class: string;
  inputs: TensorSpec[];
  /** All outputs in the model's order. */
  outputs: string[];
  epoch: number;
  /** Steady p50 of its record, ms. */
  p50Ms: number;
  /** Where its batch lies and how many items it takes, if that was proven; null: exactly its shape, alone. */
  batch: { axes: BatchAxes; size: number } | null;
  /** How smaller requests are padded to its shape, if that was proven. */
  pad: PadPlan | null;
}

/** A model version that this worker holds with the registered digest: it can serve it cold. */
export interface HeldModel {
  name: string;
  version: string;
  metadata: ModelMetadata;
  config: Pick<ModelConfig, 'batch' | 'pad'>;
}

/** What serving is told, in order. A returned promise is awaited. */
export interface LaneListener {
  /** READY is written, the holder is in the set: subscribe to the class's queue. */
  laneReady(lane: ReadyLane): Promise<void>;
  /** Stop pulling for this lane; resolves once nothing runs on it any more (the caller bounds the wait). */
  laneLeaving(lane: ReadyLane): Promise<void>;
  /** Gone without notice (runtime died, wrong numbers): runs on it reject; stop pulling unless another lane holds the class. */
  laneGone(lane: ReadyLane): void;
  /** Its steady p50 is another one than it was READY with, ms. */
  laneMeasured(laneId: string, p50Ms: number): void;
  /** Serve its cold queue and adopt its orphaned class queues from now on. */
  modelHeld(model: HeldModel): Promise<void>;
  /** Stop that; resolves once nothing of it runs any more. */
  modelDropped(model: HeldModel): Promise<void>;
}

export interface FallbackRun extends LaneRun {
  servedBy: 'cpu' | 'cuda';
}

/** What serving may ask of the lane manager. */
export interface LanesPort {
  /** Before start; the listener is told everything that is READY or held already. */
  listen(listener: LaneListener): void;
  /** Lanes that serve now: READY or SUSPECT. */
  serving(): ReadyLane[];
  /**
   * One run on a lane. Rejects with `not-ready` where the lane is gone, with {@link isProcessDeath} where the runtime
   * died under it.
   */
  runOn(laneId: string, inputs: NamedTensor[], outputs: string[], options: { timeoutMs: number }): Promise<LaneRun>;
  /**
   * One run of items that share it: as many as the lane's batch takes at most, padded to its shape where they are smaller.
   * Rejects as {@link runOn}.
   */
  runItems(laneId: string, items: LaneItem[], outputs: string[], options: { timeoutMs: number }): Promise<LaneItemsRun>;
  /** For the watch and for the order of re-warming: a served run and its compute time, ms. */
  observe(laneId: string, computeMs: number): void;
  /** A run without a lane, on what was measured best for the model. Any shape the model accepts. */
  fallbackRun(
    model: string,
    version: string,
    inputs: NamedTensor[],
    outputs: string[],
    options: { timeoutMs: number },
  ): Promise<FallbackRun>;
  /**
   * The same inputs alone in a disposable runtime, with the options of the model: who pays for a death. Rejects with
   * {@link isProcessDeath} where it kills that one too.
   */
  trialRun(
    model: string,
    version: string,
    inputs: NamedTensor[],
    outputs: string[],
    options: { timeoutMs: number },
  ): Promise<LaneRun>;
}
