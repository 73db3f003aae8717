import { parseModelOptions, type TuningCandidate, type TuningDoc, type TuningStep } from '@warmlane/contracts';
import { canonicalOptions } from '@warmlane/lanes';
import type { TuningTarget } from './tuning-target.js';

/** Why a candidate is not simply tried with a shape. */
export interface Loss {
  /** It is not tried again; else it is once more, alone in a process. */
  final: boolean;
  /** Workers that died while it was tried. */
  deaths: number;
  end: Pick<TuningCandidate, 'outcome' | 'reason' | 'signal'>;
}

/** Deaths of workers during one trial after which it is not tried again. */
const MOST_DEATHS = 2;

/** Name of the step in which the finalists of a shape are compared. */
export const COMPARISON_STEP = 'finalists';

/** What earlier tunings, and an earlier worker that died in this one, know of candidates that end processes. */
export class PastLosses {
  /** @param step the trial that was open when a worker died; null for none */
  constructor(
    private readonly docs: readonly TuningDoc[],
    private readonly step: TuningStep | null,
  ) {}

  /** @param canonical of the candidate's options: the same under another name has crashed as well */
  of({ key, spec }: TuningTarget, name: string, canonical: string): Loss | null {
    const { step } = this;
    if (step !== null && step.candidate === name && step.shapeKey === key.shapeKey) {
      const deaths = step.deaths + 1;
      const reason = `${deaths} workers ended while it was tried, last ${step.worker}`;
      return { final: deaths >= MOST_DEATHS, deaths, end: { outcome: 'crashed', reason, signal: null } };
    }
    const crashed = this.docs
      .filter((doc) => doc.environment === key.environment && doc.modelDigest === key.modelDigest)
      .filter((doc) => doc.shapeKey === key.shapeKey && doc.basis !== key.basis)
      .flatMap((doc) => doc.candidates)
      .filter((candidate) => candidate.outcome === 'crashed')
      .find(
        (candidate) =>
          canonicalOptions(spec.provider, parseModelOptions(spec.provider, candidate.options)) === canonical,
      );
    if (crashed === undefined) return null;
    const { outcome, signal } = crashed;
    const reason = `it crashed under other settings and is not tried again: ${crashed.reason}`;
    return { final: true, deaths: 0, end: { outcome, reason, signal } };
  }
}
