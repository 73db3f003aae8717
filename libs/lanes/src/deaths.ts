/** What a step that was found open after a death means for its lane. */
export interface Suspicion {
  /** How often a process died in a step of the lane. */
  deaths: number;
  /** The next attempt goes to a disposable process first. */
  trialFirst: boolean;
}

export type DeathVerdict = { verdict: 'trial-first'; suspicion: Suspicion } | { verdict: 'quarantine' };

/**
 * The rule after a death with a step of a lane open. The first puts the lane on trial: its next attempt is made in a
 * disposable process. A death there, or another one in the runtime that nobody outside caused, is the second: the lane
 * is quarantined. A kill from outside of a runtime in which the trial went well only repeats the trial.
 */
export function judgeDeath(
  before: Suspicion | null,
  death: { where: 'runtime' | 'trial'; external: boolean },
): DeathVerdict {
  const deaths = (before?.deaths ?? 0) + 1;
  if (deaths > 1 && (death.where === 'trial' || !death.external)) return { verdict: 'quarantine' };
  return { verdict: 'trial-first', suspicion: { deaths, trialFirst: true } };
}
