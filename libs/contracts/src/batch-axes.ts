import { WarmlaneError } from './errors.js';
import type { ModelConfig } from './model-config.js';
import { type ModelMetadata, printValueInfo, type ValueInfo } from './model-metadata.js';
import { printShapeClass } from './shape-key.js';
import type { TensorSpec } from './tensor.js';

/** Where the items of a batch lie. What is not named here has no batch axis: it is the same for all items. */
export interface BatchAxes {
  readonly inputs: Readonly<Record<string, number>>;
  readonly outputs: Readonly<Record<string, number>>;
}

/**
 * The batch axes that a model's configuration declares, or that follow from its metadata where it declares none: axis 0,
 * if it is one free dimension shared by all inputs. Whether a batch is as good as single runs is proven at warm-up.
 *
 * @returns null for a model without `batch`. Throws `bad-request` where the model has no such input, output or free axis.
 */
export function batchAxesOf(metadata: ModelMetadata, { batch }: Pick<ModelConfig, 'batch'>): BatchAxes | null {
  if (batch === undefined) return null;
  const declared = batch.axis;
  if (declared !== undefined) checkNames(metadata, Object.keys(declared));
  const inputs: Record<string, number> =
    declared === undefined ? inferredInputs(metadata) : declaredAxes(metadata.inputs, declared);
  if (Object.keys(inputs).length === 0) {
    throw refused('no input has a batch axis', `Name one of ${namesOf(metadata.inputs)} under batch.axis.`);
  }
  const outputs = declaredAxes(metadata.outputs, declared ?? {});
  for (const info of metadata.outputs) {
    if (outputs[info.name] === undefined && info.dims.length > 0 && isFree(info, 0)) outputs[info.name] = 0;
  }
  return { inputs, outputs };
}

/** Items of a request: the size of its batch axis, one size over all inputs; null where that is no size from 1 up. */
export function rowsOf(axes: BatchAxes, inputs: readonly TensorSpec[]): number | null {
  let rows: number | null = null;
  for (const input of inputs) {
    const axis = axes.inputs[input.name];
    if (axis === undefined) continue;
    const size = input.dims[axis] ?? 0;
    if (size < 1 || (rows !== null && rows !== size)) return null;
    rows = size;
  }
  return rows;
}

/** The inputs with another size of the batch axis. */
export function withRows<T extends TensorSpec>(axes: BatchAxes, inputs: readonly T[], rows: number): T[] {
  return inputs.map((input) => {
    const axis = axes.inputs[input.name];
    if (axis === undefined) return input;
    return { ...input, dims: input.dims.map((dim, at) => (at === axis ? rows : dim)) };
  });
}

/** The shape class with a batch axis: the shape key with the batch dimension written `b`. */
export function batchClassOf(axes: BatchAxes, inputs: readonly TensorSpec[]): string {
  return printShapeClass(
    inputs.map(({ name, dtype, dims }) => ({
      name,
      dtype,
      dims: dims.map((dim, at) => (at === axes.inputs[name] ? 'b' : dim)),
    })),
  );
}

/** True for a dimension that the model leaves open. */
export function isFree(info: ValueInfo, axis: number): boolean {
  const dim = info.dims[axis];
  return dim !== undefined && !(typeof dim === 'number' && dim >= 0);
}

function declaredAxes(infos: readonly ValueInfo[], declared: Readonly<Record<string, number>>): Record<string, number> {
  const axes: Record<string, number> = {};
  for (const info of infos) {
    const axis = declared[info.name];
    if (axis === undefined) continue;
    if (!isFree(info, axis)) {
      throw refused(
        `axis ${axis} of '${info.name}' is no free dimension`,
        `It is ${printValueInfo(info)}; name the axis whose size is the number of items.`,
      );
    }
    axes[info.name] = axis;
  }
  return axes;
}

function inferredInputs(metadata: ModelMetadata): Record<string, number> {
  const [first] = metadata.inputs;
  const symbol = first?.dims[0];
  const shared = metadata.inputs.every((info) => isFree(info, 0) && info.dims[0] === symbol);
  const named = typeof symbol === 'string' && symbol !== '';
  // Two dimensions without a name are two dimensions.
  if (!shared || (!named && metadata.inputs.length > 1)) {
    throw refused(
      'axis 0 is not one free dimension shared by all inputs',
      `The inputs are ${metadata.inputs.map(printValueInfo).join('; ')}; declare batch.axis for those that have one.`,
    );
  }
  return Object.fromEntries(metadata.inputs.map((info) => [info.name, 0]));
}

function checkNames(metadata: ModelMetadata, names: readonly string[]): void {
  const known = [...metadata.inputs, ...metadata.outputs];
  const unknown = names.find((name) => !known.some((info) => info.name === name));
  if (unknown !== undefined) {
    throw refused(`the model has no '${unknown}'`, `Its inputs and outputs are ${namesOf(known)}.`);
  }
}

function namesOf(infos: readonly ValueInfo[]): string {
  return infos.map((info) => info.name).join(', ');
}

function refused(what: string, hint: string): WarmlaneError {
  return new WarmlaneError('bad-request', `batch: ${what}`, hint);
}
