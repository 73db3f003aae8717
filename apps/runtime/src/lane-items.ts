import {
  type BatchAxes,
  boxElementBytes,
  type Crop,
  copyBox,
  croppedDims,
  cropTensor,
  fillBox,
  type LaneItem,
  type LaneItemsParams,
  type LaneItemsRun,
  type NamedTensor,
  sameDims,
  sliceAxis,
  type TensorSpec,
  WarmlaneError,
  withSize,
} from '@warmlane/contracts';
import type { LaneSession } from '@warmlane/ort';

/** What of a lane is needed to run items on it. */
export type ItemSession = Pick<LaneSession, 'inputs' | 'inputView' | 'runInPlace'>;

/**
 * Several items in one run: their bytes go straight into the buffers that the run reads, padded there, and their outputs
 * are cut out of the buffers that it wrote. Throws `bad-request` for items that do not fit the lane.
 *
 * @param inPlace outputs that lie in one piece are the lane's own bytes, which the next run writes over
 */
export function runItems(
  session: ItemSession,
  { items, axes, fill, outputs }: Pick<LaneItemsParams, 'items' | 'axes' | 'fill' | 'outputs'>,
  inPlace = false,
): LaneItemsRun {
  const rows = rowsByItem(session.inputs, axes, items);
  const begun = performance.now();
  for (const spec of session.inputs) {
    writeInput(spec, session.inputView(spec.name), axes?.inputs[spec.name], items, rows, fill[spec.name] ?? null);
  }
  const written = performance.now();
  const run = session.runInPlace(outputs);
  const read = performance.now();
  const size = axes === null ? 1 : batchOf(session.inputs, axes);
  const cut = cutOutputs(run.outputs, axes, size, items, rows, inPlace);
  return {
    items: cut,
    copyMs: written - begun + run.copyMs + (performance.now() - read),
    computeMs: run.computeMs,
  };
}

/** Places of the batch axis that each item takes. */
function rowsByItem(specs: readonly TensorSpec[], axes: BatchAxes | null, items: readonly LaneItem[]): number[] {
  const [first] = items;
  if (first === undefined) throw new WarmlaneError('bad-request', 'no items to run');
  if (axes === null) {
    if (items.length > 1) {
      throw new WarmlaneError('bad-request', `${items.length} items, the lane has no batch axis`, 'Run one at a time.');
    }
    return [1];
  }
  const rows = items.map((item) => batchOf(item.inputs, axes));
  const sum = rows.reduce((a, b) => a + b, 0);
  const size = batchOf(specs, axes);
  if (sum <= size && rows.every((count) => count > 0)) return rows;
  throw new WarmlaneError('bad-request', `${sum} items do not fit a batch of ${size}`, 'Run them on several lanes.');
}

function batchOf(inputs: readonly TensorSpec[], axes: BatchAxes): number {
  const batched = inputs.find((input) => axes.inputs[input.name] !== undefined);
  return batched?.dims[axes.inputs[batched.name] ?? 0] ?? 0;
}

function writeInput(
  spec: TensorSpec,
  view: Uint8Array,
  axis: number | undefined,
  items: readonly LaneItem[],
  rows: readonly number[],
  fill: readonly number[] | null,
): void {
  const write = (item: LaneItem, place: number, count: number): void => {
    const given = item.inputs.find((input) => input.name === spec.name);
    if (given === undefined) throw new WarmlaneError('bad-request', `input '${spec.name}' is missing`);
    const part = axis === undefined ? given : sliceAxis(given, axis, 0, count);
    writePart(spec, view, part, axis === undefined ? null : { axis, place, count }, fill);
  };
  const [first] = items;
  if (first === undefined) return;
  if (axis === undefined) {
    write(first, 0, 1);
    return;
  }
  let place = 0;
  items.forEach((item, at) => {
    write(item, place, rows[at] ?? 0);
    place += rows[at] ?? 0;
  });
  // Rows of an earlier run may be what this model fails on; rows of this one are not.
  const size = spec.dims[axis] ?? 0;
  const repeated = rows[0] ?? 1;
  for (; place < size; place += Math.min(repeated, size - place)) write(first, place, Math.min(repeated, size - place));
}

function writePart(
  spec: TensorSpec,
  view: Uint8Array,
  part: NamedTensor,
  batch: { axis: number; place: number; count: number } | null,
  fill: readonly number[] | null,
): void {
  const what = `input '${spec.name}'`;
  const bytes = boxElementBytes(spec, what);
  const whole = batch === null ? spec.dims : withSize(spec.dims, batch.axis, batch.count);
  const zeros = spec.dims.map(() => 0);
  const to = { data: view, dims: spec.dims, at: batch === null ? zeros : withSize(zeros, batch.axis, batch.place) };
  checkPart(spec, part, whole, fill !== null);
  if (fill !== null && !sameDims(part.dims, whole)) fillBox(to, whole, Uint8Array.from(fill));
  copyBox(to, { data: part.data, dims: part.dims, at: zeros }, part.dims, bytes);
}

function checkPart(spec: TensorSpec, part: NamedTensor, whole: readonly number[], padded: boolean): void {
  const fits =
    part.dtype === spec.dtype &&
    part.dims.length === whole.length &&
    (padded ? part.dims.every((dim, axis) => dim <= (whole[axis] ?? 0)) : sameDims(part.dims, whole)) &&
    part.data.byteLength === part.dims.reduce((a, b) => a * b, boxElementBytes(part, `input '${spec.name}'`));
  if (fits) return;
  throw new WarmlaneError(
    'bad-request',
    `input '${spec.name}' is ${part.dtype}[${part.dims.join(',')}], the lane takes ${spec.dtype}[${whole.join(',')}]`,
    padded ? 'Only smaller items can be padded.' : 'Send it to a lane of its shape.',
  );
}

/** Each item's part of each output. */
function cutOutputs(
  outputs: readonly NamedTensor[],
  axes: BatchAxes | null,
  size: number,
  items: readonly LaneItem[],
  rows: readonly number[],
  inPlace: boolean,
): NamedTensor[][] {
  const cut: NamedTensor[][] = items.map(() => []);
  for (const output of outputs) {
    const axis = axes?.outputs[output.name];
    const perRow = axis === undefined ? 1 : (output.dims[axis] ?? 0) / size;
    if (!Number.isInteger(perRow)) {
      throw new WarmlaneError(
        'internal',
        `output '${output.name}' is [${output.dims.join(',')}]: axis ${axis} is no multiple of the batch ${size}`,
        'Declare its own batch axis, or take batch out of the configuration.',
      );
    }
    let place = 0;
    items.forEach((item, at) => {
      const count = (rows[at] ?? 0) * perRow;
      cut[at]?.push(cutItem(output, axis, place, count, item.crops, inPlace));
      place += count;
    });
  }
  return cut;
}

/** A view only where it was asked for: the next run writes over the lane's own bytes. */
function cutItem(
  output: NamedTensor,
  axis: number | undefined,
  place: number,
  count: number,
  crops: readonly Crop[],
  inPlace: boolean,
): NamedTensor {
  const part = axis === undefined ? output : sliceAxis(output, axis, place, count);
  const dims = croppedDims(output.name, part.dims, crops);
  if (!sameDims(dims, part.dims)) return cropTensor(part, dims);
  const owned = part.data.buffer !== output.data.buffer;
  return owned || inPlace ? part : { ...part, data: new Uint8Array(part.data) };
}
