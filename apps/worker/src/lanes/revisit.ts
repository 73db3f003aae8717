import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import {
  type NamedTensor,
  orderInputs,
  type PlanEntry,
  parseShapeKey,
  type TensorSpec,
  WarmlaneError,
} from '@warmlane/contracts';
import { median, type RevisitTimes } from '@warmlane/lanes';
import { LIMITS, MEASURE, REVISIT_RUNS, REVISIT_VISITS } from '../limits.js';
import type { HeldVersion } from '../models/held-version.js';
import { isProcessDeath, RUNTIME } from '../ports.js';
import { WorkerRedis } from '../redis.provider.js';
import type { Lane } from './lane.js';
import { LaneCalls, type LaneHost, modelParams } from './lane-calls.js';
import { LaneRegistry } from './lane-registry.js';
import { Verifier } from './verifier.js';

/** Other shapes that must have run before a lane is revisited. */
const OTHER_SHAPES = 2;
/** A model of one shape is left alone for so long instead, where no other model has a lane. */
const IDLE_MS = 2_000;
/** Elements of the inputs of a throw-away shape: a larger one would cost more than the lane itself. */
const MOST_ELEMENTS = 2 ** 24;

export interface Revisit extends RevisitTimes {
  kind: 'shapes' | 'single-shape';
}

/** A plain session of other shapes, once it is used. */
interface ThrowAway {
  readonly session: string;
  used: boolean;
}

/**
 * Runs other shapes of the model in this runtime, then a lane again: what a session that holds one plan per node forgets
 * then is what makes a warm-up worthless.
 */
@Injectable()
export class Revisitor {
  constructor(
    @Inject(RUNTIME) private readonly runtime: LaneHost,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(Verifier) private readonly verifier: Verifier,
    @Inject(WorkerRedis) private readonly redis: { readonly plans: Pick<WorkerRedis['plans'], 'entries'> },
  ) {}

  /**
   * Each visit runs other shapes first. A session that forgets is slow once after them and fast again at the next run, so
   * that a median alone would not tell: of the first runs the fastest counts as well. Rejects where the lane's own runs do.
   */
  async revisit(lane: Lane): Promise<Revisit> {
    const { samples } = await this.verifier.samplesOf(lane.spec.held, lane.spec.inputs);
    const inputs = samples[0]?.inputs ?? [];
    const calls = new LaneCalls(this.runtime, lane);
    const runsMs: number[] = [];
    const firstMs: number[] = [];
    const throwAway: ThrowAway = { session: `revisit-${lane.id}`, used: false };
    let kind: Revisit['kind'] = 'shapes';
    try {
      for (let visit = 0; visit < REVISIT_VISITS; visit += 1) {
        kind = await this.disturb(lane, throwAway);
        // Timed there: its outputs, megabytes maybe, need not come here.
        const visitMs = await calls.measure(inputs, REVISIT_RUNS / REVISIT_VISITS, MEASURE.budgetMs);
        firstMs.push(visitMs[0] ?? 0);
        runsMs.push(...visitMs);
      }
    } finally {
      await this.discard(throwAway);
    }
    return { medianMs: median(runsMs), atOnceMs: Math.min(...firstMs), kind };
  }

  private async disturb(lane: Lane, throwAway: ThrowAway): Promise<Revisit['kind']> {
    let ran = await this.runOtherLanes(lane);
    if (ran < OTHER_SHAPES) ran += await this.runThrowAways(lane, OTHER_SHAPES - ran, throwAway);
    if (ran >= OTHER_SHAPES) return 'shapes';
    await this.runOtherModelOrIdle(lane);
    return 'single-shape';
  }

  /** Other lanes of the model, each once with a sample of its own. @returns how many ran */
  private async runOtherLanes(lane: Lane): Promise<number> {
    const others = this.registry.standing.filter(
      (other) => other.model === lane.model && other.version === lane.version && other.shapeKey !== lane.shapeKey,
    );
    let ran = 0;
    for (const other of others.slice(0, OTHER_SHAPES)) if (await this.runOnce(other)) ran += 1;
    return ran;
  }

  private async runOnce(other: Lane): Promise<boolean> {
    const { samples } = await this.verifier.samplesOf(other.spec.held, other.spec.inputs);
    const inputs = samples[0]?.inputs ?? [];
    return await new LaneCalls(this.runtime, other).measure(inputs, 1, MEASURE.budgetMs).then(
      () => true,
      (thrown: unknown) => rethrowDeath(thrown),
    );
  }

  /** Shapes nobody serves, on a plain session that is thrown away. A shape that the graph refuses does not count. */
  private async runThrowAways(lane: Lane, wanted: number, throwAway: ThrowAway): Promise<number> {
    const { held, providers, options } = lane.spec;
    const { session } = throwAway;
    let ran = 0;
    for (const inputs of await this.otherShapes(lane)) {
      if (ran === wanted) break;
      const sample = await this.sampleOf(held, inputs);
      if (sample === null) continue;
      const model = modelParams(held);
      const params = { session, model, providers, options, inputs: sample, outputs: lane.spec.outputs };
      throwAway.used = true;
      const ok = await this.runtime.call('plain.run', params, { timeoutMs: LIMITS.first }).then(
        () => true,
        (thrown: unknown) => rethrowDeath(thrown),
      );
      if (ok) ran += 1;
    }
    return ran;
  }

  private async discard({ session, used }: ThrowAway): Promise<void> {
    if (!used) return;
    await this.runtime
      .call('plain.release', { session }, { timeoutMs: LIMITS.release })
      .catch((thrown: unknown) => rethrowDeath(thrown));
  }

  /** null where the configuration has values for other shapes only (a file of one shape). */
  private async sampleOf(held: HeldVersion, inputs: TensorSpec[]): Promise<NamedTensor[] | null> {
    try {
      return (await this.verifier.samplesOf(held, inputs)).samples[0]?.inputs ?? null;
    } catch (thrown) {
      if (thrown instanceof WarmlaneError && thrown.code === 'bad-request') return null;
      throw thrown;
    }
  }

  /** The plan's other shapes, then the lane's own with its free dimensions made smaller or larger. */
  private async otherShapes(lane: Lane): Promise<TensorSpec[][]> {
    const planned = await this.redis.plans.entries(lane.model, lane.version);
    return [...plannedShapes(lane, planned), ...variations(lane)];
  }

  private async runOtherModelOrIdle(lane: Lane): Promise<void> {
    const other = this.registry.serving.find((one) => one.model !== lane.model);
    if (other === undefined || !(await this.runOnce(other))) await delay(IDLE_MS);
  }
}

/** A refusal is an answer; a death of the runtime is not. */
function rethrowDeath(thrown: unknown): false {
  if (isProcessDeath(thrown) !== null) throw thrown;
  return false;
}

function plannedShapes(lane: Lane, entries: readonly PlanEntry[]): TensorSpec[][] {
  return entries
    .filter((entry) => entry.shapeKey !== lane.shapeKey)
    .map((entry) => parseShapeKey(entry.shapeKey))
    .sort((a, b) => elementsOf(a) - elementsOf(b));
}

/** Elements of all inputs. */
export function elementsOf(inputs: readonly TensorSpec[]): number {
  return inputs.reduce((sum, input) => sum + input.dims.reduce((a, b) => a * b, 1), 0);
}

/**
 * The lane's shape with one free dimension changed at a time; dimensions of one symbol change together. Halved first: a
 * smaller shape is cheaper.
 */
export function variations(lane: Pick<Lane, 'spec'>): TensorSpec[][] {
  const { inputs, held } = lane.spec;
  const axes = new Map<string, number>();
  held.metadata.inputs.forEach((info, at) => {
    info.dims.forEach((dim, axis) => {
      if (typeof dim === 'number' && dim >= 0) return;
      const symbol = typeof dim === 'string' && dim !== '' ? dim : `${at}.${axis}`;
      axes.set(symbol, inputs[at]?.dims[axis] ?? 0);
    });
  });
  const changed = (symbol: string, size: number): TensorSpec[] =>
    inputs.map((input, at) => ({
      ...input,
      dims: input.dims.map((own, axis) => {
        const dim = held.metadata.inputs[at]?.dims[axis];
        const name = typeof dim === 'string' && dim !== '' ? dim : `${at}.${axis}`;
        return name === symbol && !(typeof dim === 'number' && dim >= 0) ? size : own;
      }),
    }));
  const found: TensorSpec[][] = [];
  for (const factor of [0.5, 2, 3]) {
    // The last axis is mostly a width or a length, which graphs leave freer than channels or batches.
    for (const [symbol, size] of [...axes].reverse()) {
      const next = Math.floor(size * factor);
      if (next < 1 || next === size) continue;
      const shape = orderInputs(held.metadata, changed(symbol, next));
      if (elementsOf(shape) <= MOST_ELEMENTS) found.push(shape);
    }
  }
  return found;
}
