import { checkInputs, type ModelMetadata, type NamedTensor, type TensorSpec, WarmlaneError } from '@warmlane/contracts';

/** The given inputs in the order of the specs, each exactly of its dtype, dims and length. Throws `bad-request`. */
export function matchInputs(specs: readonly TensorSpec[], given: readonly NamedTensor[]): NamedTensor[] {
  return checkInputs({ inputs: specs.map((spec) => ({ ...spec })), outputs: [] }, given).inputs;
}

/**
 * Sizes of the model's symbolic dimensions as the inputs of one shape fix them. Dimensions without a name are fixed by
 * the bound buffers alone.
 */
export function freeDimensionsOf(metadata: ModelMetadata, inputs: readonly TensorSpec[]): Record<string, number> {
  const sizes = new Map<string, number>();
  for (const info of metadata.inputs) {
    const input = inputs.find((candidate) => candidate.name === info.name);
    if (input === undefined) throw new WarmlaneError('bad-request', `missing input '${info.name}'`);
    info.dims.forEach((dim, axis) => {
      const size = input.dims[axis];
      if (typeof dim === 'string' && size !== undefined) sizes.set(dim, size);
    });
  }
  return Object.fromEntries(sizes);
}

/** True where every dimension is a known size. */
export function isConcrete(dims: readonly (number | string)[]): dims is number[] {
  return dims.every((dim) => typeof dim === 'number' && dim >= 0);
}

/** Positions of the wanted outputs; all for null. Throws `bad-request` for an unknown name. */
export function pickOutputs(names: readonly string[], wanted: readonly string[] | null | undefined): number[] {
  if (wanted === null || wanted === undefined) return names.map((_, at) => at);
  return wanted.map((name) => {
    const at = names.indexOf(name);
    if (at < 0) {
      throw new WarmlaneError('bad-request', `unknown output '${name}'`, `The outputs are ${names.join(', ')}.`);
    }
    return at;
  });
}
