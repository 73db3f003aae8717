/** A run that was sent to the runtime. */
export class PipelinedRun {
  #before: PipelinedRun | null;
  #ended = false;

  /** @param endsBy when it is past its limit, on the pipeline's clock */
  constructor(
    before: PipelinedRun | null,
    readonly timeoutMs: number,
    readonly endsBy: number,
  ) {
    this.#before = before;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** True where every run sent before it has ended: only this one can be what the runtime is at. */
  get isFirst(): boolean {
    return this.#before === null || this.#before.ended;
  }

  /** It ended, well or with an error of its own; not where its runtime died. */
  end(): void {
    this.#ended = true;
    this.#before = null;
  }
}

/** The runs on their way through the runtime, which takes one at a time in the order sent. */
export class Pipeline {
  #last: PipelinedRun | null = null;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** @param limitMs how long the run itself may take; what those before it may still take comes on top */
  enter(limitMs: number): PipelinedRun {
    const before = this.#last === null || this.#last.ended ? null : this.#last;
    const now = this.now();
    const timeoutMs = limitMs + (before === null ? 0 : Math.max(0, before.endsBy - now));
    this.#last = new PipelinedRun(before, timeoutMs, now + timeoutMs);
    return this.#last;
  }

  /** The runtime is another one from now on. */
  clear(): void {
    this.#last = null;
  }
}
