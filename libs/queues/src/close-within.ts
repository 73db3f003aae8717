import { setTimeout as delay } from 'node:timers/promises';

/** What is closed waits this long for commands under way; with Redis away they would never end. */
const CLOSE_LIMIT_MS = 1_000;

/** Resolves when all of it has ended, however, or after a second. */
export async function closeWithin(work: readonly (Promise<unknown> | null | undefined)[]): Promise<void> {
  const limit = new AbortController();
  const running = work.filter((each) => each !== null && each !== undefined);
  const ended = Promise.allSettled(running).then(() => limit.abort());
  await Promise.race([ended, delay(CLOSE_LIMIT_MS, undefined, { signal: limit.signal }).catch(() => undefined)]);
}
