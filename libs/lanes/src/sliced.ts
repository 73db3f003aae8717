/**
 * Work on large tensors as a generator that yields every few milliseconds, so that a caller on an event loop can let
 * other things run between the slices.
 */
export type Sliced<T> = Generator<undefined, T, undefined>;

/** Elements between two yields: about 1 ms of work. */
export const SLICE = 65_536;

/** Runs it in one go. */
export function finish<T>(work: Sliced<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}
