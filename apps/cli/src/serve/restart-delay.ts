const FIRST_MS = 200;
const LONGEST_MS = 5_000;
/** A process that lived this long starts a new series. */
export const STEADY_AFTER_MS = 10_000;

/**
 * How long to wait before a process that ended by itself is started again.
 * @param previousMs the wait before the life that just ended; null for its first
 * @param livedMs how long that life was
 */
export function restartDelayMs(previousMs: number | null, livedMs: number): number {
  if (previousMs === null || livedMs >= STEADY_AFTER_MS) {
    return FIRST_MS;
  }
  return Math.min(previousMs * 2, LONGEST_MS);
}
