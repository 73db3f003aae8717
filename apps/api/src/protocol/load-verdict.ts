import type { ModelDoc } from '@warmlane/contracts';
import type { LoadOutcome } from '@warmlane/redis';

/** How a load stands. */
export type LoadVerdict =
  /** No live worker is left that could load it. */
  | 'nobody'
  /** No repository has it. */
  | 'unknown'
  | 'loaded'
  /** Nobody has a version that loads. */
  | 'failed'
  /** At least one worker reads it now. */
  | 'reading'
  /** Not everybody has answered, and who has answered has no such model. */
  | 'asked';

const SETTLED: ReadonlySet<ModelDoc['state']> = new Set(['LOADED', 'FAILED']);

/**
 * @param workers ids of the live workers
 * @param answers what those said about this load; absent: nothing yet
 * @param versions the name's versions as they are registered
 */
export function loadVerdict(
  workers: readonly string[],
  answers: ReadonlyMap<string, LoadOutcome>,
  versions: readonly ModelDoc[],
): LoadVerdict {
  if (workers.length === 0) return 'nobody';
  const said = workers.map((worker) => answers.get(worker) ?? null);
  const loaded = versions.some((doc) => doc.state === 'LOADED');
  const done = said.includes('done');
  if (said.every((outcome) => outcome === 'none' || outcome === 'done')) {
    if (!done) return 'unknown';
    return loaded ? 'loaded' : 'failed';
  }
  // One that is slow to read its copy does not hold up what another serves already.
  if (done && loaded && versions.every((doc) => SETTLED.has(doc.state))) return 'loaded';
  return done || said.includes('found') ? 'reading' : 'asked';
}
