/** A run that was sent to the runtime. */
export class PipelinedRun {
  #before: PipelinedRun | null;
  #ended = false;

  constructor(before: PipelinedRun | null) {
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

  enter(): PipelinedRun {
    this.#last = new PipelinedRun(this.#last?.ended === false ? this.#last : null);
    return this.#last;
  }

  /** The runtime is another one from now on. */
  clear(): void {
    this.#last = null;
  }
}
