import {
  type ParsedOptions,
  type TuningCandidate,
  type TuningDoc,
  type TuningStep,
  WarmlaneError,
} from '@warmlane/contracts';
import {
  canonicalOptions,
  chooseWithin,
  nextTrial,
  type ShapeChoice,
  settle,
  type Trial,
  withoutFigures,
} from '@warmlane/lanes';
import { decideShape } from './decision.js';
import { PastLosses } from './past-losses.js';
import { tryShape } from './shape-trial.js';
import { TimeBudget } from './time-budget.js';
import type { TrialRoom } from './trial-lane.js';
import { TrialProcess } from './trial-process.js';
import type { ShapeRun, TuningContext, TuningRunDeps, TuningRunOptions } from './tuning-context.js';
import type { TuningTarget } from './tuning-target.js';

/** Of the time budget, for trials one by one; the rest is for the comparisons. */
const TRIALS_SHARE = 0.75;
/** Processes that may die with one candidate before its other shapes are left alone. */
const MOST_DEATHS = 2;
/** Less time is no trial. */
const LEAST_TRIAL_MS = 2_000;

/**
 * One tuning of some shapes of a model: every candidate in a process of its own, then the finalists of each shape side by
 * side. Every outcome is in Redis before the next trial begins, so whoever goes on after a death goes on from there.
 */
export class TuningRun implements TuningContext {
  readonly shapes: ShapeRun[] = [];
  readonly budget: TimeBudget;
  private losses = new PastLosses([], null);

  constructor(
    readonly deps: TuningRunDeps,
    readonly options: TuningRunOptions,
    private readonly targets: readonly [TuningTarget, ...TuningTarget[]],
  ) {
    this.budget = new TimeBudget(options.budgetMs);
  }

  private get scope(): TuningTarget['key'] {
    return this.targets[0].key;
  }

  /** Rejects with `canceled` at the signal or where another worker has the claim, and where the reference fails. */
  async run(): Promise<void> {
    const { store } = this.deps;
    this.losses = new PastLosses(await store.list(), await store.getStep(this.scope));
    for (const target of this.targets) await this.begin(target);
    const { traits } = this.options;
    const given = this.targets[0].spec.options;
    for (;;) {
      const findings = this.shapes.map(({ target, found }) => ({ shapeKey: target.key.shapeKey, found }));
      const trial = nextTrial(traits, given, findings);
      if (trial === null) break;
      await this.tryCandidate(trial);
    }
    await this.decide();
  }

  private async begin(target: TuningTarget): Promise<void> {
    const { store, verifier } = this.deps;
    const { held, inputs } = target.spec;
    const { samples } = await verifier.samplesOf(held, inputs);
    const before = await store.get(target.key);
    const shape: ShapeRun = { target, samples, found: [...(before?.candidates ?? [])] };
    // What the reference refuses no candidate can be right in.
    for (const sample of samples) await verifier.expected(held, sample);
    this.shapes.push(shape);
    await this.write(shape, null, 'searching');
  }

  // ---- one candidate ------------------------------------------------------------------------------------------------

  private async tryCandidate({ name, shapes }: Trial): Promise<void> {
    await using slot = new ProcessSlot(() => this.openProcess());
    let deaths = 0;
    for (const { shapeKey, options } of shapes) {
      const shape = this.shapeOf(shapeKey);
      const loss = this.losses.of(shape.target, name, canonicalOptions(this.options.traits.provider, options));
      const reason = this.whyNot(deaths);
      if (loss?.final === true || reason !== null) {
        const end = loss?.final === true ? loss.end : { outcome: 'not-tried' as const, reason: reason ?? '' };
        await this.record(shape, withoutFigures(this.options.traits.provider, name, options, end));
        continue;
      }
      await this.deps.pace.turn(this.options.signal);
      // What was open when a worker died is tried once more, alone in a process.
      if (loss !== null) await slot.clear();
      const found = await this.deps.turn.take(() =>
        this.budget.spend(() => this.tryOne(slot, shape, { name, options, deaths: loss?.deaths ?? 0 })),
      );
      await this.record(shape, found);
      await this.closeStep();
      if (isFatal(found)) deaths += 1;
      if (isFatal(found) || loss !== null) await slot.clear();
    }
  }

  private async tryOne(
    slot: ProcessSlot,
    { target, samples }: ShapeRun,
    { name, options, deaths }: { name: string; options: ParsedOptions; deaths: number },
  ): Promise<TuningCandidate> {
    await this.openStep(name, target.key.shapeKey, deaths);
    const process = await slot.filled();
    const { spec, key } = target;
    this.deps.logger.info({ shapeKey: key.shapeKey, candidate: name, trial: process.pid }, 'trial begins');
    return await tryShape(process, this.deps.verifier, {
      ...{ spec, samples, name, options },
      limitMs: this.limitMs,
      room: this.room,
    });
  }

  private whyNot(deaths: number): string | null {
    if (deaths >= MOST_DEATHS) return `${deaths} processes ended with it`;
    const { totalMs, leftMs } = this.budget;
    if (leftMs > (1 - TRIALS_SHARE) * totalMs) return null;
    return `the time budget of ${totalMs} ms is used up; raise WARMLANE_TUNE_BUDGET_MS`;
  }

  private get limitMs(): number {
    return Math.max(LEAST_TRIAL_MS, Math.min(this.options.candidateMs, this.budget.leftMs));
  }

  get room(): TrialRoom {
    const { memoryBytes, preparedModels, traits } = this.options;
    // The CPU's candidates differ in what a model is prepared by: each would leave a copy of it on disk.
    const weightsFolder = traits.provider === 'cuda' ? preparedModels : undefined;
    return { memoryBytes: memoryBytes(), weightsFolder };
  }

  openProcess(): Promise<TrialProcess> {
    const { traits, signal } = this.options;
    // On CUDA the arena of each session is limited; host memory is not what runs out there.
    const memoryBytes = traits.provider === 'cpu' ? this.options.memoryBytes() : null;
    return TrialProcess.open({ trials: this.deps.trials, memoryBytes, signal });
  }

  // ---- the choice ---------------------------------------------------------------------------------------------------

  /** Where the model has no bound of memory each shape is done at once; else all of them together. */
  private async decide(): Promise<void> {
    const bound = this.targets[0].spec.memoryCap;
    const choices: ShapeChoice[] = [];
    for (const shape of this.shapes) {
      const chosen = await decideShape(this, shape, this.losses);
      if (bound === null) await this.finish(shape, chosen, chosen);
      else choices.push({ shapeKey: shape.target.key.shapeKey, chosen, found: shape.found });
    }
    if (bound === null) return;
    const within = chooseWithin(choices, Math.max(0, bound - this.options.takenBytes));
    for (const { shapeKey, chosen } of choices) {
      await this.finish(this.shapeOf(shapeKey), within.get(shapeKey) ?? null, chosen);
    }
  }

  private async finish(shape: ShapeRun, chosen: string | null, byLatency: string | null): Promise<void> {
    shape.found = settle(shape.found, chosen, byLatency);
    await this.write(shape, chosen, 'done');
    const { name: model, version } = shape.target.spec.held;
    this.deps.logger.info({ model, version, shapeKey: shape.target.key.shapeKey, chosen }, 'tuned');
  }

  // ---- what is written ----------------------------------------------------------------------------------------------

  private shapeOf(shapeKey: string): ShapeRun {
    const shape = this.shapes.find(({ target }) => target.key.shapeKey === shapeKey);
    if (shape === undefined) throw new Error(`${shapeKey} is not part of this tuning`);
    return shape;
  }

  private async record(shape: ShapeRun, found: TuningCandidate): Promise<void> {
    shape.found.push(found);
    const { shapeKey } = shape.target.key;
    const { name, outcome, p50Ms, reason, signal } = found;
    this.deps.logger.info({ shapeKey, candidate: name, outcome, p50Ms, reason, signal }, 'candidate tried');
    await this.write(shape, null, 'searching');
  }

  private async write({ target, found }: ShapeRun, chosen: string | null, state: TuningDoc['state']): Promise<void> {
    const { held, provider } = target.spec;
    const { worker, device, token } = this.options;
    const doc: TuningDoc = {
      ...target.key,
      model: held.name,
      version: held.version,
      provider,
      device,
      state,
      chosen,
      candidates: found,
      worker,
      updatedAt: new Date().toISOString(),
    };
    if (!(await this.deps.store.put(doc, token))) throw taken();
  }

  async openStep(candidate: string, shapeKey: string, deaths: number): Promise<void> {
    const { worker, token } = this.options;
    const step: TuningStep = { worker, candidate, shapeKey, deaths, since: new Date().toISOString() };
    if (!(await this.deps.store.putStep(this.scope, token, step))) throw taken();
  }

  async closeStep(): Promise<void> {
    if (!(await this.deps.store.putStep(this.scope, this.options.token, null))) throw taken();
  }
}

/** One process for shape after shape; another one once it is gone. */
class ProcessSlot implements AsyncDisposable {
  private current: TrialProcess | null = null;

  constructor(private readonly open: () => Promise<TrialProcess>) {}

  async filled(): Promise<TrialProcess> {
    this.current ??= await this.open();
    return this.current;
  }

  async clear(): Promise<void> {
    const { current } = this;
    this.current = null;
    await current?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear();
  }
}

function isFatal({ outcome, p50Ms, firstMs, signal }: TuningCandidate): boolean {
  if (outcome === 'crashed' || outcome === 'timed-out') return true;
  // Refused memory ends no process, a limit of the whole process does.
  return outcome === 'over-memory' && signal === null && p50Ms === null && firstMs === null;
}

function taken(): WarmlaneError {
  return new WarmlaneError('canceled', 'another worker tunes this model by now');
}
