/** What a step that was found open after a death means for its lane. */
export interface Suspicion {
  /** How often a process died in a step of the lane with nothing else to blame. */
  deaths: number;
  /** The next attempt goes to a disposable process first. */
  trialFirst: boolean;
}

/** A death of the process that a step of the lane was open in. */
export interface StepDeath {
  where: 'runtime' | 'trial';
  /** A signal from outside. */
  external: boolean;
  /** A request was being run as well. */
  serving: boolean;
}

export type DeathVerdict = { verdict: 'trial-first'; suspicion: Suspicion } | { verdict: 'quarantine' };

/**
 * The rule after a death with a step of a lane open. The first puts the lane on trial: its next attempt is made in a
 * disposable process. A death there, or another one in the runtime that nobody outside caused, is the second: the lane
 * is quarantined. A kill from outside of a runtime in which the trial went well only repeats the trial. Where a request was
 * being run, it is at least as suspect as the step: the lane goes on trial, where no request is, and nothing is counted.
 */
export function judgeDeath(before: Suspicion | null, death: StepDeath): DeathVerdict {
  const deaths = (before?.deaths ?? 0) + (death.serving ? 0 : 1);
  if (deaths > 1 && !death.serving && (death.where === 'trial' || !death.external)) return { verdict: 'quarantine' };
  return { verdict: 'trial-first', suspicion: { deaths, trialFirst: true } };
}
