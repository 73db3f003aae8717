import type { NamedTensor, ProviderName, TensorSpec } from '@warmlane/contracts';

/** The result of one run: outputs in the model's order (or the requested ones), and where the time went, in ms. */
export interface RunResult {
  outputs: NamedTensor[];
  /** Bytes into the bound buffers and out of them, on CUDA with both ways over the bus. */
  copyMs: number;
  /** The run itself. */
  computeMs: number;
}

/** Result of the slow first run. */
export interface FirstRun {
  /** That run alone, without later ones that settle the output buffers. */
  firstMs: number;
  /** Concrete dims of the outputs as that run gave them. */
  outputs: TensorSpec[];
}

export interface Capture {
  /** Null where no graph was captured. */
  captureMs: number | null;
  /** `captured`, or why there is none. */
  graph: string;
  /** No graph now, and another try may give one: something else on the device disturbed the capture. */
  retry: boolean;
  /** The capture failed half-way: the lane does not run any more before `rebuild` and `first`. */
  broken: boolean;
}

/**
 * One session bound to one shape: fixed input buffers, and output buffers as far as the shape determines them. Methods
 * that run are not reentrant: a second call while one runs throws `busy`.
 *
 * Order of calls: create, `first`, `capture`, then `run` as often as wanted, `close`.
 */
export interface LaneSessionPort {
  readonly provider: ProviderName;
  readonly inputs: readonly TensorSpec[];
  /** Options as the library read them: proves parsing, not effect. */
  readonly optionsParsed: Readonly<Record<string, string>>;
  /** Nodes per execution provider, by ONNX Runtime's names. */
  readonly placement: Readonly<Record<string, number>>;
  /**
   * `captured`; before `capture`, or without a graph, the reason. On CUDA also why the session could not be made for
   * graphs at all.
   */
  readonly graph: string;
  /** Outputs whose dims followed the data in some run so far: ONNX Runtime allocates them at each run. */
  readonly dataDependent: boolean;
  readonly closed: boolean;

  /** The slow first run of the shape (plans, arena), on a pool thread. Inputs as in `run`. */
  first(inputs: readonly NamedTensor[]): Promise<FirstRun>;

  /** Captures the graph. On CUDA: on the very thread that will call `run`, after `first`. On the CPU: no graph. */
  capture(): Capture;

  /**
   * Makes session and buffers anew, for graphs or without, after a capture that failed: a broken capture leaves the old
   * session's stream in an unknown state. `first` has to follow.
   */
  rebuild(withGraph: boolean): Promise<void>;

  /**
   * One run on this thread. Inputs: every input of the lane, exactly its dtype and dims, any order (`bad-request`
   * otherwise). Outputs are copies; `names` picks some.
   */
  run(inputs: readonly NamedTensor[], names?: readonly string[] | null): RunResult;

  /** The same on a pool thread; `not-supported` once a graph is captured, which belongs to its thread. */
  runAsync(inputs: readonly NamedTensor[], names?: readonly string[] | null): Promise<RunResult>;

  /** Overwrites the output buffers with 0xFF bytes (NaN, -1): an output that no run writes then shows. */
  poisonOutputs(): void;

  /** Bytes held by the session's allocator and by the lane's buffers. */
  memoryBytes(): number;

  /** Releases bindings, values, buffers, run options, session, in this order. Safe to repeat; waits for a running call. */
  close(): void;
}
