import { checkInputs, checkOutputs, type NamedTensor, type TensorSpec, type ValueInfo } from '@warmlane/contracts';
import { type Capture, type FirstRun, type LaneSessionPort, OrtError, type RunResult } from '@warmlane/ort';

const POISON = 0xff;

/** How a fake lane misbehaves; see the sets of verification tests. */
export type LaneFault =
  /** Outputs are never written: what lies in the buffers is answered. */
  | 'never-writes'
  /** The answer to the previous inputs. */
  | 'previous-answer'
  /** Every float output is NaN. */
  | 'nan';

export interface FakeLaneOptions {
  inputs: readonly TensorSpec[];
  outputs: readonly ValueInfo[];
  compute(inputs: readonly NamedTensor[]): NamedTensor[];
  /** Whether `capture` gives a graph, as on CUDA. */
  graphs?: boolean;
  fault?: LaneFault;
  optionsParsed?: Record<string, string>;
}

/** A lane in JavaScript with the contract of the native ones: buffers that are bound, poisoned and closed. */
export class FakeLane implements LaneSessionPort {
  readonly provider = 'cpu';
  readonly inputs: readonly TensorSpec[];
  readonly optionsParsed: Readonly<Record<string, string>>;
  readonly placement = { FakeExecutionProvider: 1 };
  readonly #options: FakeLaneOptions;
  #buffers: NamedTensor[] = [];
  #previous: NamedTensor[] | null = null;
  #captured = false;
  #dataDependent = false;
  #running = false;
  #closed = false;

  constructor(options: FakeLaneOptions) {
    this.#options = options;
    this.inputs = options.inputs;
    this.optionsParsed = options.optionsParsed ?? {};
  }

  get graph(): string {
    if (this.#captured) return 'captured';
    return this.#options.graphs === true ? 'not captured yet' : 'the fake has no graphs';
  }

  get dataDependent(): boolean {
    return this.#dataDependent;
  }

  get closed(): boolean {
    return this.#closed;
  }

  #enter(): void {
    if (this.#closed) throw new OrtError('closed', 'this lane is closed');
    if (this.#running) throw new OrtError('busy', 'this lane is running already');
  }

  #compute(inputs: readonly NamedTensor[]): void {
    const { fault } = this.#options;
    const answer = this.#options.compute(inputs);
    const given = fault === 'previous-answer' ? (this.#previous ?? answer) : answer;
    this.#previous = answer;
    if (fault === 'never-writes' && this.#buffers.length > 0) return;
    this.#buffers = given.map((tensor, at) => {
      const before = this.#buffers[at];
      if (before !== undefined && before.dims.join() !== tensor.dims.join()) this.#dataDependent = true;
      const data =
        fault === 'nan' && tensor.dtype === 'float32' ? new Uint8Array(tensor.data.length).fill(POISON) : tensor.data;
      return { ...tensor, data: data.slice() };
    });
  }

  #run(given: readonly NamedTensor[], names: readonly string[] | null | undefined): RunResult {
    const metadata = { inputs: this.inputs.map((spec) => ({ ...spec })), outputs: [...this.#options.outputs] };
    const { inputs } = checkInputs(metadata, given);
    const wanted = checkOutputs(metadata, names ?? null);
    const start = performance.now();
    this.#compute(inputs);
    const computed = performance.now();
    const outputs = wanted.flatMap((name) => this.#buffers.filter((tensor) => tensor.name === name));
    return {
      outputs: outputs.map((tensor) => ({ ...tensor, data: tensor.data.slice() })),
      computeMs: computed - start,
      copyMs: performance.now() - computed,
    };
  }

  async first(inputs: readonly NamedTensor[]): Promise<FirstRun> {
    const { computeMs } = await this.runAsync(inputs);
    return { firstMs: computeMs, outputs: this.#buffers.map(({ name, dtype, dims }) => ({ name, dtype, dims })) };
  }

  capture(): Capture {
    this.#enter();
    this.#captured = this.#options.graphs === true;
    return { captureMs: this.#captured ? 1 : null, graph: this.graph, retry: false, broken: false };
  }

  run(inputs: readonly NamedTensor[], names?: readonly string[] | null): RunResult {
    this.#enter();
    return this.#run(inputs, names);
  }

  async runAsync(inputs: readonly NamedTensor[], names?: readonly string[] | null): Promise<RunResult> {
    if (this.#captured) throw new OrtError('not-supported', 'a captured graph belongs to its thread');
    this.#enter();
    this.#running = true;
    await Promise.resolve();
    this.#running = false;
    return this.#run(inputs, names);
  }

  async rebuild(withGraph: boolean): Promise<void> {
    this.#enter();
    this.#captured = false;
    this.#buffers = [];
    if (!withGraph) this.#options.graphs = false;
    await Promise.resolve();
  }

  poisonOutputs(): void {
    this.#enter();
    for (const tensor of this.#buffers) if (tensor.dtype !== 'string') tensor.data.fill(POISON);
  }

  memoryBytes(): number {
    this.#enter();
    return this.#buffers.reduce((sum, tensor) => sum + tensor.data.byteLength, 0);
  }

  close(): void {
    this.#closed = true;
  }
}
