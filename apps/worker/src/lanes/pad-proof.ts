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
import { padChecks, type Sample, type SampleInputs } from '@warmlane/lanes';
import { isProcessDeath } from '../ports.js';
import type { Lane } from './lane.js';
import type { LaneCalls } from './lane-calls.js';
import { precisionOf } from './lane-spec.js';
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
    sample: Sample | undefined,
    axes: BatchAxes | null,
  ): Promise<PaddingProof | undefined> {
    const { pad } = lane.spec.rules;
    if (pad === null || sample === undefined || !isPadTarget(pad, lane.spec.inputs)) return undefined;
    const items = axes === null ? [sample] : (sample.items ?? [sample]);
    const proof: PaddingProof = { verified: true, shapes: [], relativeError: null, reason: '' };
    try {
      const checks = await this.checks(lane, pad, items);
      if (checks.length === 0) throw new Unpaddable('the model takes no smaller shape that could be compared');
      proof.shapes = checks.map((check) => check.key);
      proof.relativeError = await this.compare(lane, calls, checks, axes, axes === null ? 1 : items.length);
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
    const add = async (smaller: TensorSpec[]): Promise<void> => {
      const item = items[found.length % items.length];
      const check = item === undefined ? null : await this.check(lane, pad, item, smaller);
      if (check !== null) found.push(check);
    };
    for (const smaller of first) await add(smaller);
    for (const smaller of others) if (found.length < LEAST_SHAPES) await add(smaller);
    return found;
  }

  /** null where the model itself refuses the unpadded shape: then nobody can ask for it. */
  private async check(
    lane: Lane,
    pad: PadPlan,
    item: SampleInputs,
    smaller: readonly TensorSpec[],
  ): Promise<Check | null> {
    const key = printShapeKey(smaller);
    const inputs = item.inputs.map((input, at) => {
      const dims = smaller[at]?.dims ?? [];
      return sameDims(dims, input.dims) ? input : cropTensor(input, dims);
    });
    const cacheKey = createHash('sha256')
      .update(JSON.stringify(['cropped', item.cacheKey, key]))
      .digest('hex');
    const crops = cropsOf(pad, smaller, item.inputs);
    try {
      return {
        key,
        item: { inputs, crops },
        expected: await this.verifier.expected(lane.spec.held, { inputs, cacheKey }),
      };
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
    for (let at = 0; at < checks.length; at += size) {
      const together = checks.slice(at, at + size);
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
