import { createHash } from 'node:crypto';
import {
  type BatchAxes,
  elementCount,
  encodeStrings,
  type InputSample,
  joinAxis,
  type ModelConfig,
  type NamedTensor,
  printShapeKey,
  rowsOf,
  sameDims,
  sliceAxis,
  type TensorSpec,
  WarmlaneError,
  withRows,
  withSize,
} from '@warmlane/contracts';
import type { NpyArray } from './npy.js';
import { valueSource, writers } from './sample-values.js';
import { SLICE, type Sliced } from './sliced.js';

/** Where the values of a lane's inputs come from. */
export interface SampleSource {
  /** SHA-256 of the model's files. */
  digest: string;
  inputs: ModelConfig['inputs'];
  /** What `file` entries of `inputs` name, by that name, with the SHA-256 of its bytes. */
  files: ReadonlyMap<string, { array: NpyArray; sha256: string }>;
}

/** Inputs of one run. */
export interface SampleInputs {
  /** Equal for equal inputs of the same model: keys the reference's outputs on disk. */
  cacheKey: string;
  inputs: NamedTensor[];
}

/** The inputs of one verification run. */
export interface Sample extends SampleInputs {
  /** What its batch consists of, each with the inputs of a single run; null where the model has no batch axis. */
  items: SampleInputs[] | null;
}

export interface SampleSet {
  /** One or two that differ in at least one byte. */
  samples: Sample[];
  /** `guessed` where the configuration says nothing about at least one input. */
  inputs: 'declared' | 'guessed';
}

/** How many samples are asked for: two different ones show an output that does not depend on the input. */
const SAMPLES = 2;

/**
 * The samples of a lane, deterministic in model, shape and configuration; with a batch axis each is put together from
 * single items. Throws `bad-request` where the configuration names an input that the model lacks, a value that the dtype
 * cannot hold or a file of another dtype or shape.
 */
export function* makeSamples(
  specs: readonly TensorSpec[],
  source: SampleSource,
  axes: BatchAxes | null = null,
): Sliced<SampleSet> {
  for (const name of Object.keys(source.inputs)) {
    if (!specs.some((spec) => spec.name === name)) {
      throw new WarmlaneError(
        'bad-request',
        `inputs: the model has no input '${name}'`,
        `Its inputs are ${specs.map((spec) => spec.name).join(', ')}.`,
      );
    }
  }
  const rows = axes === null ? null : rowsOf(axes, specs);
  const samples: Sample[] = [];
  for (let at = 0; at < SAMPLES; at += 1) {
    const sample =
      axes === null || rows === null
        ? { ...(yield* makeOne(specs, { ...source, axes: null }, at, at)), items: null }
        : yield* makeBatch(specs, { ...source, axes }, rows, at);
    const first = samples[0];
    if (first !== undefined && sameBytes(first.inputs, sample.inputs)) break;
    samples.push(sample);
  }
  const guessed = specs.some((spec) => source.inputs[spec.name] === undefined);
  return { samples, inputs: guessed ? 'guessed' : 'declared' };
}

/** True where at least two items of a batch differ: equal ones cannot show that each is computed by itself. */
export function hasDistinctItems(sample: Pick<Sample, 'items'>): boolean {
  const [first, ...others] = sample.items ?? [];
  return first !== undefined && others.some((item) => !sameBytes(first.inputs, item.inputs));
}

/** `count` single items of a class, beginning with the `from`th; the same ones for every batch size. */
export function* makeItems(
  specs: readonly TensorSpec[],
  source: SampleSource,
  axes: BatchAxes,
  { from, count, shared }: { from: number; count: number; shared: number },
): Sliced<SampleInputs[]> {
  const single = withRows(axes, specs, 1);
  const items: SampleInputs[] = [];
  for (let at = from; at < from + count; at += 1) items.push(yield* makeOne(single, { ...source, axes }, at, shared));
  return items;
}

type ItemSource = SampleSource & { axes: BatchAxes | null };

/** The second sample begins one item later, so that no place holds what it held in the first. */
function* makeBatch(
  specs: readonly TensorSpec[],
  source: SampleSource & { axes: BatchAxes },
  rows: number,
  at: number,
): Sliced<Sample> {
  const { axes } = source;
  const items = yield* makeItems(specs, source, axes, { from: at, count: rows, shared: at });
  const inputs = specs.map((spec, position) => {
    const parts = items.flatMap((item) => item.inputs[position] ?? []);
    const axis = axes.inputs[spec.name];
    const [first] = parts;
    if (first === undefined) throw new WarmlaneError('internal', `no sample of input '${spec.name}'`);
    return axis === undefined ? first : joinAxis(parts, axis);
  });
  return { cacheKey: digestOf([printShapeKey(specs), items.map((item) => item.cacheKey)]), inputs, items };
}

/** @param shared the sample of inputs without a batch axis: they are the same for all items of a batch */
function* makeOne(specs: readonly TensorSpec[], source: ItemSource, at: number, shared: number): Sliced<SampleInputs> {
  const inputs: NamedTensor[] = [];
  for (const spec of specs) {
    const own = source.axes === null || source.axes.inputs[spec.name] !== undefined;
    inputs.push({ ...spec, data: yield* fillInput(spec, specs, source, own ? at : shared) });
  }
  const how = specs.map(({ name }) => {
    const entry = source.inputs[name];
    const file = entry !== undefined && 'file' in entry ? source.files.get(entry.file) : undefined;
    return [name, entry ?? null, file?.sha256 ?? null];
  });
  const position = source.axes === null ? at : ['item', at, shared];
  return { cacheKey: digestOf([printShapeKey(specs), position, how]), inputs };
}

function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

function sameBytes(a: readonly NamedTensor[], b: readonly NamedTensor[]): boolean {
  return a.every((input, at) => Buffer.compare(input.data, b[at]?.data ?? new Uint8Array()) === 0);
}

function* fillInput(
  spec: TensorSpec,
  specs: readonly TensorSpec[],
  source: ItemSource,
  at: number,
): Sliced<Uint8Array> {
  const how = source.inputs[spec.name];
  if (how !== undefined && 'file' in how) return fromFile(spec, how.file, source, at);
  const count = elementCount(spec.dims, `input '${spec.name}'`);
  if (spec.dtype === 'string') return strings(spec, how, count, at);
  const seed = `${source.digest}\n${printShapeKey(specs)}\n${at}\n${spec.name}`;
  const value = valueSource(spec, how, { seed, at, varied: source.axes !== null });
  const writer = writers[spec.dtype](count);
  for (let start = 0; start < count; start += SLICE) {
    const end = Math.min(count, start + SLICE);
    for (let index = start; index < end; index += 1) writer.set(index, value(index));
    yield;
  }
  return writer.bytes;
}

function strings(
  spec: TensorSpec,
  how: Exclude<InputSample, { file: string }> | undefined,
  count: number,
  at: number,
): Uint8Array {
  if (how !== undefined && 'random' in how) {
    throw new WarmlaneError('bad-request', `inputs: '${spec.name}' is string, it cannot be random`, 'Use values.');
  }
  const values = how !== undefined && 'values' in how ? how.values.map(String) : null;
  return encodeStrings(
    Array.from({ length: count }, (_, index) => {
      if (values !== null) return values[index % values.length] ?? '';
      return how === undefined ? String((index + at) % 2) : '';
    }),
  );
}

function fromFile(spec: TensorSpec, name: string, source: ItemSource, at: number): Uint8Array {
  const array = source.files.get(name)?.array;
  const what = `inputs: '${spec.name}': ${name}`;
  if (array === undefined) throw new WarmlaneError('bad-request', `${what} was not read`, 'Load the model again.');
  const wanted = `${spec.dtype}[${spec.dims.join(',')}]`;
  const found = `${array.dtype}[${array.dims.join(',')}]`;
  const several = array.dims.length === spec.dims.length + 1;
  const batchAxis = source.axes?.inputs[spec.name];
  const rows = batchAxis === undefined || several ? 0 : (array.dims[batchAxis] ?? 0);
  // A file of a batch holds as many items.
  if (batchAxis !== undefined && rows > 1 && array.dtype === spec.dtype) {
    if (sameDims(withSize(array.dims, batchAxis, 1), spec.dims)) {
      return sliceAxis({ name, ...array }, batchAxis, at % rows, 1).data;
    }
  }
  const fits =
    array.dtype === spec.dtype &&
    (several ? array.dims.slice(1) : array.dims).join(',') === spec.dims.join(',') &&
    (!several || (array.dims[0] ?? 0) > 0);
  if (!fits) {
    throw new WarmlaneError(
      'bad-request',
      `${what} is ${found}, the lane needs ${wanted}`,
      'Give it that shape, or with one axis more in front for several samples; or use random or values.',
    );
  }
  if (!several) return array.data;
  const count = array.dims[0] ?? 1;
  const bytes = array.data.byteLength / count;
  const from = (at % count) * bytes;
  return array.data.subarray(from, from + bytes);
}
