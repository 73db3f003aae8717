import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import {
  type BatchAxes,
  type BatchProof,
  batchClassOf,
  joinAxis,
  type NamedTensor,
  rowsOf,
  sliceAxis,
  WarmlaneError,
} from '@warmlane/contracts';
import { hasDistinctItems, makeItems, type Sample, type SampleInputs } from '@warmlane/lanes';
import { isProcessDeath } from '../ports.js';
import type { Lane } from './lane.js';
import { precisionOf } from './lane-spec.js';
import { runSliced } from './run-sliced.js';
import { type Verdict, type VerifiedRun, Verifier } from './verifier.js';

/** Numbers of a lane, and whether its batch is as good as single runs. */
export interface LaneVerdict {
  verdict: Verdict;
  /** Absent where the model declares no batch. */
  batch: BatchProof | undefined;
}

/** Items that show in the reference that a batch of the model may be cut, for a lane of one item. */
const PAIR = 2;

/**
 * Proves the numbers of a lane. With a batch axis its batch of distinct items is compared with a single run of each item
 * through the reference; where that does not hold, with the whole batch through the reference: then the lane is right, but
 * serves its exact shape alone.
 */
@Injectable()
export class BatchProver {
  constructor(@Inject(Verifier) private readonly verifier: Verifier) {}

  async prove(lane: Lane, samples: readonly Sample[], run: VerifiedRun): Promise<LaneVerdict> {
    const { held, rules, inputs } = lane.spec;
    const axes = rules.batch;
    const size = axes === null ? null : rowsOf(axes, inputs);
    const whole = () => this.verifier.verify(held, samples, precisionOf(lane.spec), run);
    if (axes === null || size === null) return { verdict: await whole(), batch: undefined };
    const byItem = await this.byItem(lane, axes, samples, run);
    const refused = (reason: string): BatchProof => ({ verified: false, size, relativeError: null, reason });
    if (!byItem.right) {
      return { verdict: await whole(), batch: { ...refused(byItem.reason), relativeError: finite(byItem) } };
    }
    const reason = await this.doubt(lane, axes, size, samples);
    if (reason !== null) return { verdict: byItem, batch: refused(reason) };
    return { verdict: byItem, batch: { verified: true, size, relativeError: byItem.relativeError, reason: '' } };
  }

  /** The class in which a lane serves. */
  classOf(lane: Lane, batch: BatchProof | undefined): string {
    const { rules, inputs, shapeKey } = lane.spec;
    return rules.batch !== null && batch?.verified === true ? batchClassOf(rules.batch, inputs) : shapeKey;
  }

  /** The worst item of the lane's batches against its single run. */
  private async byItem(lane: Lane, axes: BatchAxes, samples: readonly Sample[], run: VerifiedRun): Promise<Verdict> {
    let worst: Verdict = { right: true, relativeError: 0, tolerance: 0, reason: '' };
    for (const { inputs, items } of samples) {
      const verdict = await this.judgeItems(lane, axes, items ?? [], await run(inputs));
      if (!verdict.right) return verdict;
      if (verdict.relativeError >= worst.relativeError) worst = verdict;
    }
    return worst;
  }

  private async judgeItems(
    lane: Lane,
    axes: BatchAxes,
    items: readonly SampleInputs[],
    outputs: readonly NamedTensor[],
  ): Promise<Verdict> {
    const { held } = lane.spec;
    let worst: Verdict = { right: true, relativeError: 0, tolerance: 0, reason: '' };
    for (const [at, item] of items.entries()) {
      const expected = await this.verifier.expected(held, item);
      const own = cutItem(outputs, axes, at, items.length);
      if (typeof own === 'string') {
        return { right: false, relativeError: Number.POSITIVE_INFINITY, tolerance: 0, reason: own };
      }
      const verdict = await this.verifier.judge(held, own, expected, precisionOf(lane.spec));
      if (!verdict.right) return { ...verdict, reason: `item ${at} of ${items.length}: ${verdict.reason}` };
      if (verdict.relativeError >= worst.relativeError) worst = verdict;
    }
    return worst;
  }

  /** Why right numbers do not prove that items may be run together; null where they do. */
  private async doubt(lane: Lane, axes: BatchAxes, size: number, samples: readonly Sample[]): Promise<string | null> {
    if (size > 1) return samples.every(hasDistinctItems) ? null : ALIKE;
    const { held, inputs } = lane.spec;
    const pair = await runSliced(
      makeItems(inputs, this.verifier.sourceOf(held), axes, { from: 0, count: PAIR, shared: 0 }),
    );
    if (!hasDistinctItems({ items: pair })) return ALIKE;
    const joined = inputs.map((input, position) => {
      const parts = pair.flatMap((item) => item.inputs[position] ?? []);
      const axis = axes.inputs[input.name];
      return axis === undefined ? (parts[0] ?? { ...input, data: new Uint8Array() }) : joinAxis(parts, axis);
    });
    const cacheKey = createHash('sha256')
      .update(JSON.stringify(['pair', ...pair.map((item) => item.cacheKey)]))
      .digest('hex');
    try {
      const outputs = await this.verifier.expected(held, { inputs: joined, cacheKey });
      const verdict = await this.judgeItems(lane, axes, pair, outputs);
      return verdict.right ? null : verdict.reason;
    } catch (thrown) {
      if (isProcessDeath(thrown) !== null) throw thrown;
      const error = WarmlaneError.from(thrown);
      if (error.code === 'worker-gone') throw error;
      return `the model refuses a batch of ${PAIR}: ${error.message}`;
    }
  }
}

const ALIKE = "the items of its samples are all the same: give 'inputs' of which items differ";

/** One item's part of the outputs of a batch, or why there is none. */
function cutItem(outputs: readonly NamedTensor[], axes: BatchAxes, at: number, items: number): NamedTensor[] | string {
  const own: NamedTensor[] = [];
  for (const output of outputs) {
    const axis = axes.outputs[output.name];
    if (axis === undefined) {
      own.push(output);
      continue;
    }
    const rows = (output.dims[axis] ?? 0) / items;
    if (!Number.isInteger(rows)) {
      return `output '${output.name}' is [${output.dims.join(',')}]: axis ${axis} is no multiple of ${items} items`;
    }
    own.push(sliceAxis(output, axis, at * rows, rows));
  }
  return own;
}

function finite({ relativeError }: Verdict): number | null {
  return Number.isFinite(relativeError) ? relativeError : null;
}
