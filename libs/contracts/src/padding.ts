import type { BatchAxes } from './batch-axes.js';
import { isFree } from './batch-axes.js';
import { type CropExpression, parseCrop } from './crop-expression.js';
import { WarmlaneError } from './errors.js';
import type { ModelConfig, PadConfig } from './model-config.js';
import { type ModelMetadata, orderInputs, printValueInfo, type ValueInfo } from './model-metadata.js';
import type { TensorSpec } from './tensor.js';
import { withSize } from './tensor-box.js';

/** The size of one axis of an output after it was cropped. */
export interface Crop {
  output: string;
  axis: number;
  size: number;
}

/** One axis of one input that may be filled up. */
export interface PadAxis {
  readonly input: string;
  readonly axis: number;
  /** Buckets, rising. */
  readonly to: readonly number[];
  readonly value: number;
  readonly outputs: readonly { name: string; axis: number; crop: CropExpression }[];
}

/** All that a model's configuration says about padding. */
export interface PadPlan {
  readonly axes: readonly PadAxis[];
  /** Equal for equal rules: a proof of one set of rules says nothing about another. */
  readonly digest: string;
}

/**
 * The padding that a model's configuration allows; whether it is right is proven at warm-up. Throws `bad-request` that
 * names what does not fit the model. @returns null for a model without `pad`
 */
export function padPlanOf(
  metadata: ModelMetadata,
  { pad }: Pick<ModelConfig, 'pad'>,
  batch: BatchAxes | null,
): PadPlan | null {
  if (pad === undefined) return null;
  const axes = listOf(pad).flatMap((entry) =>
    Object.entries(entry).map(([input, rule]) => padAxisOf(metadata, batch, input, rule)),
  );
  if (axes.length === 0) return null;
  checkOnce(axes.map(({ input, axis }) => `axis ${axis} of input '${input}'`));
  const other = axes.find(({ input, value }) => axes.some((one) => one.input === input && one.value !== value));
  if (other !== undefined) throw refused(`input '${other.input}' has two values`, 'Give it one for all its axes.');
  checkOnce(axes.flatMap(({ outputs }) => outputs.map(({ name, axis }) => `axis ${axis} of output '${name}'`)));
  return { axes, digest: digestOf(axes) };
}

/**
 * True where a request may be padded to a larger shape: buckets on the axes that are padded, the same sizes on all others,
 * and outputs that the rules have a size for.
 */
export function canBePadded(plan: PadPlan, inputs: readonly TensorSpec[], to: readonly TensorSpec[]): boolean {
  if (inputs.length !== to.length || !isPadTarget(plan, to)) return false;
  let larger = false;
  for (const [at, { name, dtype, dims }] of inputs.entries()) {
    const wanted = to[at];
    if (wanted?.name !== name || wanted.dtype !== dtype || wanted.dims.length !== dims.length) return false;
    for (const [axis, size] of dims.entries()) {
      const padded = plan.axes.some((one) => one.input === name && one.axis === axis);
      const bucket = wanted.dims[axis] ?? 0;
      if (padded ? size < 1 || size > bucket : size !== bucket) return false;
      larger ||= size < bucket;
    }
  }
  return larger && hasCrops(plan, inputs, to);
}

function hasCrops(plan: PadPlan, inputs: readonly TensorSpec[], to: readonly TensorSpec[]): boolean {
  try {
    cropsOf(plan, inputs, to);
    return true;
  } catch (thrown) {
    if (thrown instanceof WarmlaneError && thrown.code === 'bad-request') return false;
    throw thrown;
  }
}

/** True where every padded axis of a shape has the size of a bucket: requests may be padded to it. */
export function isPadTarget(plan: PadPlan, inputs: readonly TensorSpec[]): boolean {
  return plan.axes.every(({ input, axis, to }) => {
    const size = inputs.find((one) => one.name === input)?.dims[axis];
    return size !== undefined && to.includes(size);
  });
}

/** What the outputs of a request are cropped to when it runs in a larger shape. Throws `bad-request` as a rule does. */
export function cropsOf(plan: PadPlan, inputs: readonly TensorSpec[], padded: readonly TensorSpec[]): Crop[] {
  return plan.axes.flatMap(({ input, axis, outputs }) => {
    const size = inputs.find((one) => one.name === input)?.dims[axis] ?? 0;
    if (size === padded.find((one) => one.name === input)?.dims[axis]) return [];
    return outputs.map((output) => ({ output: output.name, axis: output.axis, size: output.crop.sizeFor(size) }));
  });
}

/** The dims of a tensor with its crops applied. */
export function croppedDims(output: string, dims: readonly number[], crops: readonly Crop[]): number[] {
  return crops.reduce(
    (size, crop) => (crop.output === output ? withSize(size, crop.axis, crop.size) : size),
    [...dims],
  );
}

function listOf(pad: PadConfig) {
  return Array.isArray(pad) ? pad : [pad];
}

type PadRule = Extract<PadConfig, unknown[]>[number][string];

function padAxisOf(metadata: ModelMetadata, batch: BatchAxes | null, input: string, rule: PadRule): PadAxis {
  const info = find(metadata.inputs, input, 'input');
  checkFree(info, rule.axis);
  if (info.dtype === 'string') throw refused(`input '${input}' holds strings`, 'Only numbers can be padded.');
  if (batch?.inputs[input] === rule.axis) {
    throw refused(`axis ${rule.axis} of '${input}' is its batch axis`, 'A batch is filled up by itself.');
  }
  const outputs = Object.entries(rule.outputs).map(([name, { axis, crop }]) => {
    const output = find(metadata.outputs, name, 'output');
    checkFree(output, axis);
    if (batch?.outputs[name] === axis) {
      throw refused(`axis ${axis} of output '${name}' is its batch axis`, 'Crop another axis.');
    }
    return { name, axis, crop: parseCrop(crop) };
  });
  const to = [...new Set(rule.to)].sort((a, b) => a - b);
  return { input, axis: rule.axis, to, value: rule.value, outputs };
}

function find(infos: readonly ValueInfo[], name: string, kind: string): ValueInfo {
  const info = infos.find((one) => one.name === name);
  if (info !== undefined) return info;
  throw refused(`the model has no ${kind} '${name}'`, `It has ${infos.map((one) => one.name).join(', ')}.`);
}

function checkFree(info: ValueInfo, axis: number): void {
  if (isFree(info, axis)) return;
  throw refused(`axis ${axis} of '${info.name}' is no free dimension`, `It is ${printValueInfo(info)}.`);
}

function checkOnce(texts: readonly string[]): void {
  const twice = texts.find((text, at) => texts.indexOf(text) !== at);
  if (twice !== undefined) throw refused(`${twice} has two rules`, 'Keep one of them.');
}

/**
 * Whether a model's metadata takes inputs of these shapes. One symbol has one size: of two inputs that are padded, not
 * every combination is a shape.
 */
export function acceptsShape(metadata: ModelMetadata, shape: readonly TensorSpec[]): boolean {
  try {
    orderInputs(metadata, shape);
    return true;
  } catch (thrown) {
    if (thrown instanceof WarmlaneError && thrown.code === 'bad-request') return false;
    throw thrown;
  }
}

function digestOf(axes: readonly PadAxis[]): string {
  const rules = axes.map(({ input, axis, value, outputs }) => [
    input,
    axis,
    value,
    outputs.map((output) => [output.name, output.axis, output.crop.text]),
  ]);
  return JSON.stringify(rules);
}

function refused(what: string, hint: string): WarmlaneError {
  return new WarmlaneError('bad-request', `pad: ${what}`, hint);
}
