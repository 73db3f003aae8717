import type { TuningCandidate } from '@warmlane/contracts';
import { choose, defaultsOf, finalistsOf, incumbentOf, isRight } from '@warmlane/lanes';
import { type Compared, compareFinalists } from './comparison.js';
import { COMPARISON_STEP, type PastLosses } from './past-losses.js';
import { TrialOver } from './trial-process.js';
import type { ShapeRun, TuningContext } from './tuning-context.js';

/** A comparison is worth this much of the time that is left, shared by the shapes that still wait for theirs. */
const MOST_COMPARISON_MS = 20_000;
/** Creation and first runs of the finalists, and waiting for a quiet device. */
const EXTRA_LIMIT_MS = 120_000;

/**
 * The candidate of a shape that is fastest, from a comparison side by side; null where none is right. Without one, for
 * want of time or because its process died, what the lane has now stays, if it is right.
 */
export async function decideShape(run: TuningContext, shape: ShapeRun, losses: PastLosses): Promise<string | null> {
  const { provider, options: given } = shape.target.spec;
  const incumbent = incumbentOf(provider, given, shape.found);
  const defaults = defaultsOf(shape.found);
  const finalists = finalistsOf(provider, shape.found, [incumbent, defaults]);
  const [only] = finalists;
  if (only === undefined || finalists.length === 1) return only?.name ?? null;
  const contenders = await compare(run, shape, finalists, losses);
  if (contenders === null) return whatStays([incumbent, defaults], finalists);
  for (const { candidate } of contenders) {
    shape.found = shape.found.map((one) => (one.name === candidate.name ? candidate : one));
  }
  const right = contenders.flatMap(({ contender }) => contender ?? []);
  return choose(provider, right, { incumbent: incumbent?.name ?? null, defaults: defaults?.name ?? null });
}

/** Null where there was no comparison. */
async function compare(
  run: TuningContext,
  shape: ShapeRun,
  finalists: TuningCandidate[],
  losses: PastLosses,
): Promise<Compared[] | null> {
  const { deps, options, budget } = run;
  const { pace, signal } = { pace: deps.pace, signal: options.signal };
  const { spec, key } = shape.target;
  const loss = losses.of(shape.target, COMPARISON_STEP, '');
  if (loss?.final === true) return logged(run, shape, loss.end.reason);
  if (budget.leftMs === 0) return logged(run, shape, 'the time budget is used up');
  await pace.turn(signal);
  return await deps.turn.take(() =>
    budget.spend(async () => {
      await run.openStep(COMPARISON_STEP, key.shapeKey, loss?.deaths ?? 0);
      try {
        await using process = await run.openProcess();
        const waiting = run.shapes.length - run.shapes.indexOf(shape);
        const budgetMs = Math.min(MOST_COMPARISON_MS, budget.leftMs / waiting);
        const { room } = run;
        const limitMs = 3 * budgetMs + EXTRA_LIMIT_MS;
        const { samples } = shape;
        return await compareFinalists(process, deps.verifier, {
          ...{ spec, samples, finalists, budgetMs, limitMs, room, pace, signal },
        });
      } catch (thrown) {
        if (!(thrown instanceof TrialOver)) throw thrown;
        return logged(run, shape, `the process of the finalists ended: ${thrown.message}`);
      } finally {
        if (!signal.aborted) await run.closeStep();
      }
    }),
  );
}

function logged(run: TuningContext, shape: ShapeRun, reason: string): null {
  run.deps.logger.warn({ shapeKey: shape.target.key.shapeKey, reason }, 'finalists were not compared: the lane stays');
  return null;
}

function whatStays(before: readonly (TuningCandidate | null)[], finalists: readonly TuningCandidate[]): string | null {
  const stays = before.find((candidate) => candidate !== null && isRight(candidate));
  return (stays ?? finalists[0])?.name ?? null;
}
