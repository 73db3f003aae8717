import { setTimeout as delay } from 'node:timers/promises';
import { type ParsedOptions, parseModelOptions, type TuningCandidate } from '@warmlane/contracts';
import { type Contender, median, percentile, type Sample, shuffled } from '@warmlane/lanes';
import type { LaneSpec } from '../lanes/lane.js';
import type { Verifier } from '../lanes/verifier.js';
import type { Pace } from './pace.js';
import { Proof } from './shape-trial.js';
import { TrialLane, type TrialRoom } from './trial-lane.js';
import { type TrialProcess, TrialRefused } from './trial-process.js';

/** Rounds of all finalists in turn: load that comes and goes meets each alike. */
const ROUNDS = 15;
/** Fewer prove nothing: five wins of five are chance once in 32. */
const LEAST_ROUNDS = 5;
/** One finalist's part of a round: many runs of a fast lane, one of a slow one. */
const PART_MS = 40;
const MOST_RUNS = 20;
/** Threads of the session that ran before spin on for a while. */
const SETTLE_MS = 5;

export interface Comparison {
  spec: LaneSpec;
  samples: readonly Sample[];
  finalists: readonly TuningCandidate[];
  /** What the rounds may take; five are made all the same. */
  budgetMs: number;
  /** For everything, waits for a quiet device included. */
  limitMs: number;
  room: TrialRoom;
  pace: Pace;
  signal: AbortSignal;
}

/** A finalist after the comparison; `wrong` says why it is none. */
export interface Compared {
  candidate: TuningCandidate;
  contender: Contender | null;
}

interface Entrant {
  candidate: TuningCandidate;
  lane: TrialLane;
  proof: Proof;
  roundsMs: number[];
  runsMs: number[];
}

/**
 * All finalists of one shape side by side in one process, measured in turn, proven before and after. One that is refused
 * or wrong here is out. Rejects with `TrialOver` where the process is gone, with `canceled`.
 */
export function compareFinalists(process: TrialProcess, verifier: Verifier, asked: Comparison): Promise<Compared[]> {
  return process.within(asked.limitMs, async () => {
    const { samples, budgetMs, pace, signal } = asked;
    const inputs = samples[0]?.inputs ?? [];
    const out: Compared[] = [];
    const entrants: Entrant[] = [];
    for (const candidate of asked.finalists) {
      const entered = await enter(process, verifier, asked, candidate);
      if ('lane' in entered) entrants.push(entered);
      else out.push(entered);
    }
    let workedMs = 0;
    for (let round = 0; round < ROUNDS && (round < LEAST_ROUNDS || workedMs < budgetMs); round += 1) {
      const begun = performance.now();
      for (const entrant of shuffled(entrants)) {
        await delay(SETTLE_MS);
        const runs = Math.max(1, Math.min(MOST_RUNS, Math.floor(PART_MS / (entrant.candidate.p50Ms ?? PART_MS))));
        // The first run finds caches and clocks as another one left them.
        const [, ...runsMs] = await entrant.lane.measure(inputs, runs + 1, PART_MS);
        entrant.roundsMs.push(median(runsMs));
        entrant.runsMs.push(...runsMs);
      }
      const roundMs = performance.now() - begun;
      workedMs += roundMs;
      await pace.rest(roundMs, signal);
    }
    for (const entrant of entrants) out.push(await leave(entrant, samples));
    return out;
  });
}

async function enter(
  process: TrialProcess,
  verifier: Verifier,
  { spec, samples, room }: Comparison,
  candidate: TuningCandidate,
): Promise<Entrant | Compared> {
  const options: ParsedOptions = parseModelOptions(spec.provider, candidate.options);
  const lane = new TrialLane(process, spec, options, room);
  const proof = new Proof(verifier, { ...spec, options }, lane);
  try {
    await lane.open(samples[0]?.inputs ?? []);
    const verdict = await proof.of(samples.slice(0, 1));
    if (!verdict.right) return outOf(candidate, proof.wrong, verdict.reason);
    return { candidate, lane, proof, roundsMs: [], runsMs: [] };
  } catch (thrown) {
    if (!(thrown instanceof TrialRefused)) throw thrown;
    const { code, message } = thrown.cause;
    return outOf(candidate, code === 'device-busy' ? 'over-memory' : 'refused', message);
  }
}

/** Proven once more: another lane's graph beside its own must not have changed its numbers. */
async function leave(
  { candidate, lane, proof, roundsMs, runsMs }: Entrant,
  samples: readonly Sample[],
): Promise<Compared> {
  const verdict = await proof.of(samples.slice(0, 1));
  await lane.release();
  if (!verdict.right) return outOf(candidate, proof.wrong, verdict.reason);
  const { name, memoryBytes } = candidate;
  return {
    candidate: { ...candidate, p50Ms: median(runsMs), p99Ms: percentile(runsMs, 0.99) },
    contender: { name, roundsMs, memoryBytes },
  };
}

function outOf(candidate: TuningCandidate, outcome: TuningCandidate['outcome'], reason: string): Compared {
  return { candidate: { ...candidate, outcome, reason: `beside other finalists: ${reason}` }, contender: null };
}
