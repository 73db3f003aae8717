import { type BatchAxes, joinAxis, type LaneRun, type NamedTensor } from '@warmlane/contracts';

/** How far a request is whose items may run in several runs, each with items of others. */
export class Progress {
  #begun = 0;
  #ended = 0;
  #copyMs = 0;
  #computeMs = 0;
  #startedAt: number | null = null;
  readonly #parts: { from: number; outputs: NamedTensor[] }[] = [];

  constructor(private readonly items: number) {}

  /** Items that no run has taken yet. */
  get left(): number {
    return this.items - this.#begun;
  }

  /** True once a run has taken all of them. */
  get allBegun(): boolean {
    return this.left === 0;
  }

  /** When the first run began. */
  get startedAt(): number | null {
    return this.#startedAt;
  }

  /** A run takes the next items. @returns the position of the first */
  begin(count: number): number {
    const from = this.#begun;
    this.#begun += count;
    return from;
  }

  /** A run of some items has ended well. @returns true where it was the last one */
  end(from: number, count: number, run: LaneRun, startedAt: number): boolean {
    this.#parts.push({ from, outputs: run.outputs });
    this.#ended += count;
    this.#copyMs += run.copyMs;
    this.#computeMs += run.computeMs;
    this.#startedAt = Math.min(this.#startedAt ?? startedAt, startedAt);
    return this.#ended === this.items;
  }

  /** The outputs of all items in their order, and the time of all runs. Throws `internal` where parts do not fit. */
  join(axes: BatchAxes | null): LaneRun {
    const parts = this.#parts.sort((a, b) => a.from - b.from);
    const outputs = (parts[0]?.outputs ?? []).map((first, at) => {
      const axis = axes?.outputs[first.name];
      if (axis === undefined) return first;
      return joinAxis(
        parts.flatMap((part) => part.outputs[at] ?? []),
        axis,
      );
    });
    return { outputs, copyMs: this.#copyMs, computeMs: this.#computeMs };
  }
}
