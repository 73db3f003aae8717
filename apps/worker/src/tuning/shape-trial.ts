import type { NamedTensor, ParsedOptions, TuningCandidate } from '@warmlane/contracts';
import { holdsNaN, median, percentile, type Sample, withoutFigures } from '@warmlane/lanes';
import type { LaneSpec } from '../lanes/lane.js';
import { precisionOf } from '../lanes/lane-spec.js';
import { runSliced } from '../lanes/run-sliced.js';
import type { Verdict, Verifier } from '../lanes/verifier.js';
import { TrialLane, type TrialRoom } from './trial-lane.js';
import { TrialOver, type TrialProcess, TrialRefused } from './trial-process.js';

/** Enough to tell who is near the fastest; who is it is for the comparison to say. */
const RUNS = { count: 30, budgetMs: 1_000 } as const;

export interface ShapeTrial {
  spec: LaneSpec;
  samples: readonly Sample[];
  name: string;
  options: ParsedOptions;
  /** For all steps together. */
  limitMs: number;
  room: TrialRoom;
}

/**
 * One candidate with one shape: made, run, proven with every sample over poisoned outputs, measured, proven again. What
 * comes of it is always a result, also the death of the process; rejects with `canceled`, and where the reference fails.
 */
export async function tryShape(process: TrialProcess, verifier: Verifier, trial: ShapeTrial): Promise<TuningCandidate> {
  const { spec, name, options, limitMs } = trial;
  const end = (outcome: TuningCandidate['outcome'], reason: string, signal: string | null = null): TuningCandidate =>
    withoutFigures(spec.provider, name, options, { outcome, reason, signal });
  try {
    return await process.within(limitMs, () => steps(process, verifier, trial, end));
  } catch (thrown) {
    if (thrown instanceof TrialOver) return end(thrown.outcome, thrown.message, thrown.signal);
    if (!(thrown instanceof TrialRefused)) throw thrown;
    const { code, message } = thrown.cause;
    return end(code === 'device-busy' ? 'over-memory' : 'refused', message);
  }
}

async function steps(
  process: TrialProcess,
  verifier: Verifier,
  { spec, samples, options, room }: ShapeTrial,
  end: (outcome: TuningCandidate['outcome'], reason: string) => TuningCandidate,
): Promise<TuningCandidate> {
  const inputs = samples[0]?.inputs ?? [];
  const lane = new TrialLane(process, spec, options, room);
  const proof = new Proof(verifier, { ...spec, options }, lane);
  const firstMs = await lane.open(inputs);
  const before = await proof.of(samples);
  if (!before.right) return { ...end(proof.wrong, before.reason), firstMs };
  const runsMs = await lane.measure(inputs, RUNS.count, RUNS.budgetMs);
  const after = await proof.of(samples.slice(0, 1));
  if (!after.right) return { ...end(proof.wrong, `after ${runsMs.length} runs: ${after.reason}`), firstMs };
  const { bytes } = await lane.memory();
  await lane.release();
  return {
    ...end('measured', ''),
    firstMs,
    p50Ms: median(runsMs),
    p99Ms: percentile(runsMs, 0.99),
    relativeError: Math.max(before.relativeError, after.relativeError),
    memoryBytes: bytes,
  };
}

/** Numbers of a candidate's lane against the reference's. */
export class Proof {
  /** What the last wrong verdict was about. */
  wrong: 'nan' | 'wrong-numbers' = 'wrong-numbers';

  constructor(
    private readonly verifier: Verifier,
    private readonly spec: LaneSpec,
    private readonly lane: TrialLane,
  ) {}

  async of(samples: readonly Sample[]): Promise<Verdict> {
    const { held } = this.spec;
    let got: NamedTensor[] = [];
    let given: Sample | undefined;
    const verdict = await this.verifier.verify(held, samples, precisionOf(this.spec), async (inputs) => {
      given = samples.find((sample) => sample.inputs === inputs);
      got = await this.lane.poisoned(inputs);
      return got;
    });
    if (!verdict.right && given !== undefined && (await runSliced(holdsNaN(got)))) {
      const expected = await this.verifier.expected(held, given);
      this.wrong = (await runSliced(holdsNaN(expected))) ? 'wrong-numbers' : 'nan';
    }
    return verdict;
  }
}
