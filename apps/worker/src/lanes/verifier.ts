import { Inject, Injectable } from '@nestjs/common';
import {
  batchAxesOf,
  type NamedTensor,
  newId,
  printShapeKey,
  type TensorSpec,
  WarmlaneError,
} from '@warmlane/contracts';
import {
  batchedOutputs,
  compareOutputs,
  makeSamples,
  type Precision,
  type SampleInputs,
  type SampleSet,
  type SampleSource,
  toleranceOf,
} from '@warmlane/lanes';
import { LIMITS } from '../limits.js';
import type { HeldVersion } from '../models/held-version.js';
import { isProcessDeath, REFERENCE, type ReferencePort } from '../ports.js';
import { runSliced } from './run-sliced.js';
import { TensorCache } from './tensor-cache.js';

/** How far outputs are from the reference's. */
export interface Verdict {
  right: boolean;
  /** Worst over outputs, batch items and samples; Infinity where something had to be equal and is not. */
  relativeError: number;
  /** That of the output with the worst error. */
  tolerance: number;
  /** Why it is not right; empty where it is. */
  reason: string;
}

/** What is run to be verified. Its outputs must not be left over from an earlier run. */
export type VerifiedRun = (inputs: NamedTensor[]) => Promise<NamedTensor[]>;

/** A lane asks for the same samples and references several times while it is proven, and soon never again. */
const KEPT = { bytes: 64 * 2 ** 20, ms: 20_000 } as const;

/** Proves numbers right against the reference process. */
@Injectable()
export class Verifier {
  private readonly samples = new TensorCache<SampleSet>(KEPT.bytes, KEPT.ms, samplesBytes);
  private readonly references = new TensorCache<NamedTensor[]>(KEPT.bytes, KEPT.ms, tensorsBytes);
  /** A version that was read again has other ones. */
  private readonly ids = new WeakMap<HeldVersion, string>();

  constructor(@Inject(REFERENCE) private readonly reference: ReferencePort) {}

  /** One or two different samples for a shape, the same on every worker and after every restart. Nobody may change them. */
  async samplesOf(held: HeldVersion, inputs: TensorSpec[]): Promise<SampleSet> {
    const id = this.ids.get(held) ?? newId();
    this.ids.set(held, id);
    return await this.samples.get(`${id} ${printShapeKey(inputs)}`, () =>
      runSliced(makeSamples(inputs, this.sourceOf(held), batchAxesOf(held.metadata, held.config))),
    );
  }

  /** Where the values of a version's samples come from. */
  sourceOf(held: HeldVersion): SampleSource {
    return { digest: held.files.digest, inputs: held.config.inputs, files: held.sampleFiles };
  }

  async verify(
    held: HeldVersion,
    samples: readonly SampleInputs[],
    precision: Precision,
    run: VerifiedRun,
  ): Promise<Verdict> {
    let worst: Verdict = { right: true, relativeError: 0, tolerance: 0, reason: '' };
    for (const sample of samples) {
      const expected = await this.expected(held, sample);
      const got = await run(sample.inputs);
      const verdict = await this.judge(held, got, expected, precision);
      if (!verdict.right) return verdict;
      if (verdict.relativeError >= worst.relativeError) worst = verdict;
    }
    return worst;
  }

  /** The reference's outputs for a sample: from disk where it ran before. */
  async expected(
    held: HeldVersion,
    sample: Pick<SampleInputs, 'inputs'> & { cacheKey: string | null },
  ): Promise<NamedTensor[]> {
    const run = () => this.runReference(held, sample);
    const { cacheKey } = sample;
    return cacheKey === null ? await run() : await this.references.get(`${held.files.digest} ${cacheKey}`, run);
  }

  private async runReference(
    held: HeldVersion,
    sample: Pick<SampleInputs, 'inputs'> & { cacheKey: string | null },
  ): Promise<NamedTensor[]> {
    const { modelPath: path, digest } = held.files;
    const { inputs, cacheKey } = sample;
    const params = { path, digest, inputs, outputs: null, cacheKey };
    try {
      return (await this.reference.call('model.run', params, { timeoutMs: LIMITS.reference })).outputs;
    } catch (thrown) {
      const death = isProcessDeath(thrown);
      if (death === null) throw thrown;
      // Not the death of the lane's own process: nobody may take it for that.
      throw new WarmlaneError('worker-gone', `the reference process ended: ${death.reason}`, 'It is started again.');
    }
  }

  /** Gives back what the reference process holds of a model. */
  async drop(held: HeldVersion): Promise<void> {
    await this.reference.call('model.unload', { digest: held.files.digest }, { timeoutMs: LIMITS.release });
  }

  async judge(
    held: HeldVersion,
    got: readonly NamedTensor[],
    expected: readonly NamedTensor[],
    precision: Precision,
  ): Promise<Verdict> {
    if (expected.length === 0) throw new WarmlaneError('internal', 'the reference gave no outputs');
    const errors = await runSliced(compareOutputs(got, expected, batchedOutputs(held.metadata)));
    const inputs = held.metadata.inputs.map((input) => input.dtype);
    let worst: Verdict = { right: true, relativeError: -1, tolerance: 0, reason: '' };
    for (const { output, dtype, error, reason } of errors) {
      const tolerance = toleranceOf(dtype, inputs, held.config, precision);
      // Written so that NaN is wrong.
      if (!(error <= tolerance)) {
        const off = `output '${output}' is off by ${error.toExponential(2)}, allowed are ${tolerance}`;
        return {
          right: false,
          relativeError: error,
          tolerance,
          reason: `wrong numbers: ${reason === '' ? off : reason}`,
        };
      }
      if (error > worst.relativeError) worst = { right: true, relativeError: error, tolerance, reason: '' };
    }
    return worst;
  }
}

function tensorsBytes(tensors: readonly NamedTensor[]): number {
  return tensors.reduce((sum, { data }) => sum + data.byteLength, 0);
}

function samplesBytes({ samples }: SampleSet): number {
  const all = samples.flatMap((sample) => [sample, ...(sample.items ?? [])]);
  return all.reduce((sum, { inputs }) => sum + tensorsBytes(inputs), 0);
}
