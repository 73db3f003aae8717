import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import {
  type BatchAxes,
  cropsOf,
  cropTensor,
  isPadTarget,
  type LaneItem,
  type NamedTensor,
  type PaddingProof,
  type PadPlan,
  printShapeKey,
  sameDims,
  type TensorSpec,
  WarmlaneError,
} from '@warmlane/contracts';
import { hollowPadding, oneSided, padChecks, type Sample, type SampleInputs, type Side } from '@warmlane/lanes';
import { isProcessDeath } from '../ports.js';
import type { Lane } from './lane.js';
import type { LaneCalls } from './lane-calls.js';
import { precisionOf } from './lane-spec.js';
import { runSliced } from './run-sliced.js';
import { Verifier } from './verifier.js';

/** Unpadded shapes that must have been compared, where a bucket has so many. */
const LEAST_SHAPES = 3;

/** One unpadded shape, as it goes into the lane, with what has to come out. */
interface Check {
  key: string;
  item: LaneItem;
  expected: NamedTensor[];
}

/** Padding of these shapes is wrong, for the reason in the message. */
class Unpaddable extends Error {}

/** Proves that smaller requests, padded to a lane's shape and cropped, get what their own shape would have given them. */
@Injectable()
export class PadProver {
  constructor(@Inject(Verifier) private readonly verifier: Verifier) {}

  /**
   * @param axes the lane's batch as far as it was proven: shapes of different sizes are run in one batch then
   * @returns undefined where nothing is padded to the lane
   */
  async prove(
    lane: Lane,
    calls: LaneCalls,
    samples: readonly Sample[],
    axes: BatchAxes | null,
  ): Promise<PaddingProof | undefined> {
    const { pad } = lane.spec.rules;
    if (pad === null || samples.length === 0 || !isPadTarget(pad, lane.spec.inputs)) return undefined;
    const itemsOf = (sample: Sample): SampleInputs[] => (axes === null ? [sample] : (sample.items ?? [sample]));
    const proof: PaddingProof = { verified: true, shapes: [], relativeError: null, reason: '' };
    try {
      const checks = await this.checks(lane, pad, samples.flatMap(itemsOf));
      if (checks.length === 0) throw new Unpaddable('the model takes no smaller shape that could be compared');
      proof.shapes = [...new Set(checks.map((check) => check.key))];
      const size = samples[0] === undefined ? 1 : itemsOf(samples[0]).length;
      proof.relativeError = await this.compare(lane, calls, checks, axes, size);
      return proof;
    } catch (thrown) {
      if (isProcessDeath(thrown) !== null) throw thrown;
      if (thrown instanceof Unpaddable) return { ...proof, verified: false, reason: thrown.message };
      const error = WarmlaneError.from(thrown);
      if (error.code === 'worker-gone' || error.code === 'not-ready') throw thrown;
      return { ...proof, verified: false, reason: error.message };
    }
  }

  private async checks(lane: Lane, pad: PadPlan, items: readonly SampleInputs[]): Promise<Check[]> {
    const shape = items[0]?.inputs ?? [];
    const { first, others } = padChecks(pad, lane.spec.rules.metadata, shape);
    const found: Check[] = [];
    const add = async (smaller: TensorSpec[], side: Side | null = null): Promise<void> => {
      const item = items[found.length % items.length];
      const check = item === undefined ? null : await this.check(lane, pad, item, smaller, side);
      if (check !== null) found.push(check);
    };
    for (const smaller of first) await add(smaller);
    for (const smaller of others) if (found.length < LEAST_SHAPES) await add(smaller);
    const [largest] = found;
    if (largest === undefined) return found;
    for (const side of ['below', 'above'] as const) await add(largest.item.inputs, side);
    return found;
  }

  /**
   * null where the model itself refuses the unpadded shape: then nobody can ask for it. Throws {@link Unpaddable} where the
   * samples show nothing, `bad-request` where the rules give no size for a shape that the model takes.
   *
   * @param side the values of the padded inputs that it is made of; null for those of the sample; a check that would be one
   *   of the sample then is null
   */
  private async check(
    lane: Lane,
    pad: PadPlan,
    item: SampleInputs,
    smaller: readonly TensorSpec[],
    side: Side | null,
  ): Promise<Check | null> {
    const key = printShapeKey(smaller);
    const cropped = item.inputs.map((input, at) => {
      const dims = smaller[at]?.dims ?? [];
      return sameDims(dims, input.dims) ? input : cropTensor(input, dims);
    });
    const inputs = side === null ? cropped : await runSliced(oneSided(cropped, pad, side));
    if (inputs === null) return null;
    const hollow = await runSliced(hollowPadding(item.inputs, pad));
    if (hollow !== null) throw new Unpaddable(hollow);
    const cacheKey = createHash('sha256')
      .update(JSON.stringify(['cropped', item.cacheKey, key, ...(side === null ? [] : [side])]))
      .digest('hex');
    const expected = await this.expected(lane, { inputs, cacheKey });
    return expected === null ? null : { key, item: { inputs, crops: cropsOf(pad, smaller, item.inputs) }, expected };
  }

  private async expected(lane: Lane, sample: SampleInputs): Promise<NamedTensor[] | null> {
    try {
      return await this.verifier.expected(lane.spec.held, sample);
    } catch (thrown) {
      if (thrown instanceof WarmlaneError && thrown.code !== 'worker-gone' && thrown.code !== 'not-ready') return null;
      throw thrown;
    }
  }

  /** @returns the worst relative error. Throws {@link Unpaddable} where the numbers are wrong. */
  private async compare(
    lane: Lane,
    calls: LaneCalls,
    checks: readonly Check[],
    axes: BatchAxes | null,
    size: number,
  ): Promise<number> {
    let worst = 0;
    for (const together of runsOf(checks, axes, size)) {
      const run = await calls.items(
        together.map((check) => check.item),
        { axes, outputs: null, poison: true },
      );
      for (const [place, { key, expected }] of together.entries()) {
        const got = run.items[place] ?? [];
        const verdict = await this.verifier.judge(lane.spec.held, got, expected, precisionOf(lane.spec));
        if (!verdict.right) throw new Unpaddable(`${key}: ${verdict.reason}`);
        worst = Math.max(worst, verdict.relativeError);
      }
    }
    return worst;
  }
}

/** What runs together, as requests do: `size` checks at most, whose inputs without a batch axis are the same. */
function runsOf(checks: readonly Check[], axes: BatchAxes | null, size: number): Check[][] {
  const runs: Check[][] = [];
  for (const check of checks) {
    const run = runs.find(([first, ...others]) => first && others.length + 1 < size && shareInputs(axes, first, check));
    if (run === undefined) runs.push([check]);
    else run.push(check);
  }
  return runs;
}

function shareInputs(axes: BatchAxes | null, { item: a }: Check, { item: b }: Check): boolean {
  return a.inputs.every((input, at) => {
    const other = b.inputs[at];
    if (axes?.inputs[input.name] !== undefined || other === undefined) return true;
    return sameDims(input.dims, other.dims) && Buffer.compare(input.data, other.data) === 0;
  });
}
