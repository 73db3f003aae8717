import { z } from 'zod';
import { WarmlaneError } from './errors.js';
import { parseShapeKey, printShapeKey } from './shape-key.js';
import {
  checkTensorBytes,
  DTYPE_NAMES,
  type DType,
  elementCount,
  type NamedTensor,
  type TensorSpec,
} from './tensor.js';

export const dtypeSchema = z.enum(DTYPE_NAMES as [DType, ...DType[]]);

/** An input or output as the model declares it. A dimension is its size, its symbolic name, or -1 where it has neither. */
export const valueInfoSchema = z.object({
  name: z.string(),
  dtype: dtypeSchema,
  dims: z.array(z.union([z.number().int(), z.string()])),
});
export type ValueInfo = z.infer<typeof valueInfoSchema>;

export const modelMetadataSchema = z.object({ inputs: z.array(valueInfoSchema), outputs: z.array(valueInfoSchema) });
export type ModelMetadata = z.infer<typeof modelMetadataSchema>;

/** `x:float32[N,3,48,W]`: how a declared input is written in messages. */
export function printValueInfo(info: ValueInfo): string {
  return `${info.name}:${info.dtype}[${info.dims.map((dim) => (dim === -1 ? '?' : dim)).join(',')}]`;
}

/**
 * Checks concrete inputs against the model and returns them in the model's order. Throws `bad-request` naming the input
 * and what was expected: missing, unknown or repeated name, dtype, rank, fixed dimension. One symbolic name stands for
 * one size over all inputs.
 */
export function orderInputs<T extends TensorSpec>(metadata: ModelMetadata, given: readonly T[]): T[] {
  const byName = new Map<string, T>();
  for (const input of given) {
    if (!metadata.inputs.some((info) => info.name === input.name)) {
      throw new WarmlaneError(
        'bad-request',
        `unknown input '${input.name}'`,
        `The model's inputs are ${metadata.inputs.map(printValueInfo).join('; ')}.`,
      );
    }
    if (byName.has(input.name)) throw new WarmlaneError('bad-request', `input '${input.name}' is given twice`);
    byName.set(input.name, input);
  }
  const symbols = new Map<string, { size: number; input: string }>();
  return metadata.inputs.map((info) => {
    const input = byName.get(info.name);
    if (input === undefined)
      throw new WarmlaneError('bad-request', `missing input '${info.name}'`, `Expected ${printValueInfo(info)}.`);
    checkInput(info, input, symbols);
    return input;
  });
}

function checkInput(info: ValueInfo, input: TensorSpec, symbols: Map<string, { size: number; input: string }>): void {
  const refuse = (what: string): never => {
    throw new WarmlaneError('bad-request', `input '${info.name}': ${what}`, `Expected ${printValueInfo(info)}.`);
  };
  if (input.dtype !== info.dtype) refuse(`dtype ${input.dtype}, expected ${info.dtype}`);
  elementCount(input.dims, `input '${info.name}'`);
  if (input.dims.length !== info.dims.length) {
    refuse(`rank ${input.dims.length} [${input.dims.join(',')}], expected rank ${info.dims.length}`);
  }
  info.dims.forEach((declared, axis) => {
    const size = input.dims[axis] ?? 0;
    if (typeof declared === 'number') {
      if (declared >= 0 && declared !== size) refuse(`dimension ${axis} is ${size}, expected ${declared}`);
      return;
    }
    if (declared === '') return;
    const known = symbols.get(declared);
    if (known === undefined) symbols.set(declared, { size, input: info.name });
    else if (known.size !== size) {
      refuse(`dimension ${axis} ('${declared}') is ${size}, but ${known.size} in input '${known.input}'`);
    }
  });
}

/** A shape key checked against the model, in canonical form and the model's order. Throws `bad-request`. */
export function checkShapeKey(metadata: ModelMetadata, text: string): { key: string; inputs: TensorSpec[] } {
  const inputs = orderInputs(metadata, parseShapeKey(text));
  const key = printShapeKey(inputs);
  if (key !== text)
    throw new WarmlaneError(
      'bad-request',
      `shape key '${text}' does not follow the model's input order`,
      `Write it ${key}`,
    );
  return { key, inputs };
}

/** Request tensors checked against the model: the inputs in the model's order and the request's shape key. */
export function checkInputs(
  metadata: ModelMetadata,
  given: readonly NamedTensor[],
): { key: string; inputs: NamedTensor[] } {
  const inputs = orderInputs(metadata, given);
  for (const input of inputs) checkTensorBytes(input);
  return { key: printShapeKey(inputs), inputs };
}

/** The requested output names, or all in the model's order for null. Throws `bad-request` for an unknown or repeated one. */
export function checkOutputs(metadata: ModelMetadata, names: readonly string[] | null): string[] {
  const known = metadata.outputs.map((info) => info.name);
  if (names === null) return known;
  names.forEach((name, at) => {
    if (!known.includes(name))
      throw new WarmlaneError(
        'bad-request',
        `unknown output '${name}'`,
        `The model's outputs are ${known.join(', ')}.`,
      );
    if (names.indexOf(name) !== at) throw new WarmlaneError('bad-request', `output '${name}' is requested twice`);
  });
  return [...names];
}
