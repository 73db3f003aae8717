import {
  acceptsShape,
  type ModelMetadata,
  type PadPlan,
  sameDims,
  type TensorSpec,
  withSize,
} from '@warmlane/contracts';
import { padBytes } from './sample-values.js';

/** The unpadded shapes with which padding to a lane's shape is proven. */
export interface PadChecks {
  /** The largest, the middle and the smallest sizes that belong to the bucket, and the smallest of all. */
  first: TensorSpec[][];
  /** Tried where the model takes too few of the first: sizes that are multiples of something. */
  others: TensorSpec[][];
}

/** Distances from a bucket for models whose sizes are multiples of a power of two. */
const STEPS = [2, 4, 8, 16, 32, 64];

/** @param inputs the lane's shape, or for a batch that of one item */
export function padChecks(plan: PadPlan, metadata: ModelMetadata, inputs: readonly TensorSpec[]): PadChecks {
  const buckets = plan.axes.map(({ input, axis, to }) => {
    const bucket = inputs.find((one) => one.name === input)?.dims[axis] ?? 1;
    const below = Math.max(0, ...to.filter((other) => other < bucket));
    return { input, axis, bucket, below };
  });
  type Bucket = (typeof buckets)[number];
  const sized = (size: (of: Bucket, at: number) => number): TensorSpec[] =>
    buckets.reduce<TensorSpec[]>(
      (shape, of, at) => {
        const wanted = Math.min(of.bucket, Math.max(1, size(of, at)));
        return shape.map((one) =>
          one.name === of.input ? { ...one, dims: withSize(one.dims, of.axis, wanted) } : one,
        );
      },
      inputs.map(({ name, dtype, dims }) => ({ name, dtype, dims })),
    );
  const rules: ((of: Bucket) => number)[] = [
    ({ bucket }) => bucket - 1,
    ({ bucket, below }) => Math.floor((below + bucket) / 2),
    ({ below }) => below + 1,
    () => 1,
  ];
  const one = buckets.length > 1 ? buckets : [];
  const first = [
    ...rules.map((rule) => sized(rule)),
    // One axis alone, the others full.
    ...one.flatMap((_, at) =>
      [rules[0], rules[3]].map((rule) => sized((of, n) => (n === at && rule ? rule(of) : of.bucket))),
    ),
  ];
  const others = STEPS.flatMap((step) => [sized(({ bucket }) => bucket - step), sized(({ below }) => below + step)]);
  const seen: TensorSpec[][] = [[...inputs]];
  const fresh = (shape: TensorSpec[]): boolean => {
    if (seen.some((known) => known.every((input, at) => sameDims(input.dims, shape[at]?.dims ?? [])))) return false;
    seen.push(shape);
    return acceptsShape(metadata, shape);
  };
  return { first: first.filter(fresh), others: others.filter(fresh) };
}

/** By input, the bytes of one element with which it is padded. Throws `bad-request` where its dtype cannot hold the value. */
export function padFill(
  plan: PadPlan,
  inputs: readonly Pick<TensorSpec, 'name' | 'dtype'>[],
): Record<string, number[]> {
  const fill: Record<string, number[]> = {};
  for (const { input, value } of plan.axes) {
    const spec = inputs.find((one) => one.name === input);
    if (spec !== undefined) fill[input] = padBytes(spec, value);
  }
  return fill;
}
