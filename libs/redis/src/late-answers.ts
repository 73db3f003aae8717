import type { Answer } from './answer.codec.js';

/** Of more the oldest are forgotten: what they would have given back ends by its time. */
const MOST = 10_000;

/** `answer`: null where only its name came, or where it never will. */
export type OnLate = (answer: Answer | null) => void;

/** Requests that nobody waits for any more, with what is to be done once their answer comes after all. */
export class LateAnswers {
  readonly #all = new Map<string, { until: number; then: OnLate }>();

  get size(): number {
    return this.#all.size;
  }

  add(request: string, ttlMs: number, then: OnLate): void {
    this.#all.set(request, { until: performance.now() + ttlMs, then });
    if (this.#all.size <= MOST) return;
    for (const oldest of this.#all.keys()) {
      this.#all.delete(oldest);
      return;
    }
  }

  has(request: string): boolean {
    return this.#all.has(request);
  }

  /** Without effect for a request that is not there. */
  settle(request: string, answer: Answer | null): void {
    const late = this.#all.get(request);
    if (late === undefined) return;
    this.#all.delete(request);
    late.then(answer);
  }

  /** Forgets those whose time is over. */
  tidy(): void {
    const now = performance.now();
    for (const [request, { until }] of this.#all) if (until <= now) this.#all.delete(request);
  }
}
