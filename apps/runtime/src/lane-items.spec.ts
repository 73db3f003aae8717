import type { BatchAxes, LaneItem, NamedTensor, TensorSpec } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { type ItemSession, runItems } from './lane-items.js';

/** A lane that gives its one input back, doubled; what it read is kept to be looked at. */
function doubling(dims: number[], failOn: number | null = null): ItemSession & { input: Uint8Array } {
  const spec: TensorSpec = { name: 'x', dtype: 'uint8', dims };
  const input = new Uint8Array(dims.reduce((a, b) => a * b, 1)).fill(99);
  const output = new Uint8Array(input.byteLength);
  return {
    inputs: [spec],
    input,
    inputView: () => input,
    runInPlace: () => {
      if (failOn !== null && input.includes(failOn)) throw new Error('a bad item');
      for (const [at, value] of input.entries()) output[at] = value * 2;
      return { outputs: [{ name: 'y', dtype: 'uint8', dims, data: output }], copyMs: 1, computeMs: 2 };
    },
  };
}

const item = (dims: number[], values: number[], crops: LaneItem['crops'] = []): LaneItem => ({
  inputs: [{ name: 'x', dtype: 'uint8', dims, data: Uint8Array.from(values) }],
  crops,
});
const params = (items: LaneItem[], axes: BatchAxes | null, fill: Record<string, number[]> = {}) => ({
  items,
  axes,
  fill,
  outputs: null,
});
const outputs = (items: NamedTensor[][]) => items.map(([y]) => [y?.dims, Array.from(y?.data ?? [])]);
const FIRST: BatchAxes = { inputs: { x: 0 }, outputs: { y: 0 } };
const SECOND: BatchAxes = { inputs: { x: 1 }, outputs: { y: 1 } };

describe('runItems', () => {
  it('gives each item its own part of the outputs, in copies', () => {
    const session = doubling([4, 2]);
    const run = runItems(session, params([item([1, 2], [1, 2]), item([3, 2], [3, 4, 5, 6, 7, 8])], FIRST));
    expect(outputs(run.items)).toEqual([
      [
        [1, 2],
        [2, 4],
      ],
      [
        [3, 2],
        [6, 8, 10, 12, 14, 16],
      ],
    ]);
    runItems(session, params([item([4, 2], [0, 0, 0, 0, 0, 0, 0, 0])], FIRST));
    expect(outputs(run.items)[0]).toEqual([
      [1, 2],
      [2, 4],
    ]);
    expect(run.computeMs).toBe(2);
  });

  it('gives the lane’s own bytes where that was asked for, copies of what does not lie in one piece or is cropped', () => {
    const session = doubling([2, 2]);
    const [first] = runItems(session, params([item([1, 2], [1, 2]), item([1, 2], [3, 4])], FIRST), true).items;
    const along = runItems(doubling([2, 2]), params([item([2, 1], [1, 2]), item([2, 1], [3, 4])], SECOND), true);
    expect(outputs(along.items).map(([, values]) => values)).toEqual([
      [2, 4],
      [6, 8],
    ]);
    expect(Array.from(first?.[0]?.data ?? [])).toEqual([2, 4]);
    runItems(session, params([item([2, 2], [5, 6, 7, 8])], FIRST), true);
    expect(Array.from(first?.[0]?.data ?? [])).toEqual([10, 12]);
  });

  it('repeats the first item where the batch is not full: nothing of an earlier run is left', () => {
    const session = doubling([5, 1], 99);
    const run = runItems(session, params([item([2, 1], [1, 2]), item([1, 1], [3])], FIRST));
    expect(Array.from(session.input)).toEqual([1, 2, 3, 1, 2]);
    expect(outputs(run.items)).toEqual([
      [
        [2, 1],
        [2, 4],
      ],
      [[1, 1], [6]],
    ]);
  });

  it('takes a batch axis that is not the first', () => {
    const session = doubling([2, 3]);
    const run = runItems(session, params([item([2, 2], [1, 2, 3, 4]), item([2, 1], [5, 6])], SECOND));
    expect(Array.from(session.input)).toEqual([1, 2, 5, 3, 4, 6]);
    expect(outputs(run.items)).toEqual([
      [
        [2, 2],
        [2, 4, 6, 8],
      ],
      [
        [2, 1],
        [10, 12],
      ],
    ]);
  });

  it('pads items of different widths in one batch, and crops each to its own', () => {
    const session = doubling([2, 4]);
    const crop = (size: number) => [{ output: 'y', axis: 1, size }];
    const run = runItems(
      session,
      params([item([1, 2], [1, 2], crop(2)), item([1, 3], [3, 4, 5], crop(3))], FIRST, { x: [7] }),
    );
    expect(Array.from(session.input)).toEqual([1, 2, 7, 7, 3, 4, 5, 7]);
    expect(outputs(run.items)).toEqual([
      [
        [1, 2],
        [2, 4],
      ],
      [
        [1, 3],
        [6, 8, 10],
      ],
    ]);
  });

  it('pads a lane without a batch axis', () => {
    const session = doubling([3]);
    const run = runItems(session, params([item([1], [5], [{ output: 'y', axis: 0, size: 1 }])], null, { x: [0] }));
    expect(Array.from(session.input)).toEqual([5, 0, 0]);
    expect(outputs(run.items)).toEqual([[[1], [10]]]);
  });

  it.each([
    ['more items than places', [item([3, 2], [1, 2, 3, 4, 5, 6])], FIRST, {}, '3 items do not fit a batch of 2'],
    ['another width', [item([1, 1], [1])], FIRST, {}, 'the lane takes uint8[1,2]'],
    ['a larger width', [item([1, 3], [1, 2, 3])], FIRST, { x: [0] }, 'the lane takes uint8[1,2]'],
    ['missing bytes', [item([1, 2], [1])], FIRST, {}, 'the lane takes uint8[1,2]'],
    ['two items without a batch axis', [item([2, 2], []), item([2, 2], [])], null, {}, 'no batch axis'],
    ['nothing', [], FIRST, {}, 'no items'],
  ])('refuses %s', (_what, items, axes, fill, message) => {
    expect(() => runItems(doubling([2, 2]), params(items, axes, fill))).toThrow(
      expect.objectContaining({ code: 'bad-request', message: expect.stringContaining(message) }),
    );
  });

  it('refuses outputs that do not split', () => {
    const session = doubling([2, 2]);
    const odd: ItemSession = {
      ...session,
      runInPlace: () => ({
        outputs: [{ name: 'y', dtype: 'uint8', dims: [3], data: new Uint8Array(3) }],
        copyMs: 0,
        computeMs: 0,
      }),
    };
    expect(() => runItems(odd, params([item([2, 2], [1, 2, 3, 4])], FIRST))).toThrow('no multiple of the batch');
  });
});
