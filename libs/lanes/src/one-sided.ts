import { elementBytes, type NamedTensor, type PadPlan, WarmlaneError } from '@warmlane/contracts';
import { fromBfloat16, fromFloat16 } from './half.js';
import { padBytes } from './sample-values.js';
import { SLICE, type Sliced } from './sliced.js';

/** Different values that stand in for the others. */
const MOST_KEPT = 4_096;

/** Which values of a sample are kept: those below the value of the padding, or those above it. */
export type Side = 'below' | 'above';

/**
 * The inputs with every value of the padded ones on one side of their padding: a maximum or minimum over the padded axis
 * hides behind values of both sides. Values of the other side become those of this one, in turn, so that nothing is made
 * up that the samples do not hold.
 *
 * @returns null where that changes nothing, or no sample holds a value of this side
 */
export function* oneSided(inputs: readonly NamedTensor[], plan: PadPlan, side: Side): Sliced<NamedTensor[] | null> {
  let changed = false;
  const sided: NamedTensor[] = [];
  for (const input of inputs) {
    const value = fillOf(plan, input);
    const own = value === undefined ? null : yield* keepSide(input, value, side);
    changed ||= own !== null;
    sided.push(own ?? input);
  }
  return changed ? sided : null;
}

/** Why inputs cannot show that padding is right: every value of a padded one is that of its padding; null where they can. */
export function* hollowPadding(inputs: readonly NamedTensor[], plan: PadPlan): Sliced<string | null> {
  for (const input of inputs) {
    const value = fillOf(plan, input);
    if (value === undefined) continue;
    const read = reader(input);
    let differs = false;
    for (let at = 0; at < read.count && !differs; at += 1) {
      differs = read.number(at) !== value;
      if (at % SLICE === SLICE - 1) yield;
    }
    if (!differs) return `the samples of '${input.name}' hold only what it is padded with: give 'inputs' that do not`;
  }
  return null;
}

/** As the input's dtype holds it: 0.1 is another number in 32 bits. */
function fillOf(plan: PadPlan, input: NamedTensor): number | undefined {
  const value = plan.axes.find((axis) => axis.input === input.name)?.value;
  if (value === undefined) return undefined;
  return reader({ ...input, dims: [], data: Uint8Array.from(padBytes(input, value)) }).number(0);
}

function* keepSide(input: NamedTensor, value: number, side: Side): Sliced<NamedTensor | null> {
  const { count, bytes, number } = reader(input);
  const keeps = (at: number): boolean => (side === 'below' ? number(at) < value : number(at) > value);
  const kept: number[] = [];
  for (let at = 0; at < count && kept.length < MOST_KEPT; at += 1) {
    if (keeps(at)) kept.push(at);
    if (at % SLICE === SLICE - 1) yield;
  }
  if (kept.length === 0) return null;
  const data = new Uint8Array(input.data);
  let replaced = 0;
  for (let at = 0; at < count; at += 1) {
    if (!keeps(at)) {
      const from = (kept[replaced % kept.length] ?? 0) * bytes;
      data.copyWithin(at * bytes, from, from + bytes);
      replaced += 1;
    }
    if (at % SLICE === SLICE - 1) yield;
  }
  return replaced === 0 ? null : { ...input, data };
}

/** Elements of a tensor of numbers by their index; those of 64 bits as near as a number comes. */
function reader({ name, dtype, data, dims }: NamedTensor) {
  const bytes = elementBytes(dtype);
  if (dtype === 'string' || bytes === null) {
    throw new WarmlaneError('bad-request', `pad: '${name}' holds strings`, 'Only numbers can be padded.');
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const read = READERS[dtype];
  return {
    count: dims.reduce((product, dim) => product * dim, 1),
    bytes,
    number: (at: number): number => read(view, at * bytes),
  };
}

type Numeric = Exclude<NamedTensor['dtype'], 'string'>;

const READERS: Record<Numeric, (view: DataView, at: number) => number> = {
  bool: (view, at) => view.getUint8(at),
  uint8: (view, at) => view.getUint8(at),
  int8: (view, at) => view.getInt8(at),
  uint16: (view, at) => view.getUint16(at, true),
  int16: (view, at) => view.getInt16(at, true),
  uint32: (view, at) => view.getUint32(at, true),
  int32: (view, at) => view.getInt32(at, true),
  uint64: (view, at) => Number(view.getBigUint64(at, true)),
  int64: (view, at) => Number(view.getBigInt64(at, true)),
  float16: (view, at) => fromFloat16(view.getUint16(at, true)),
  bfloat16: (view, at) => fromBfloat16(view.getUint16(at, true)),
  float32: (view, at) => view.getFloat32(at, true),
  float64: (view, at) => view.getFloat64(at, true),
};
