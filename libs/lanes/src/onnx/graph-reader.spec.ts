import { bytesOf, externalDataModel, loopModel, meanModel, model, noise, tensor } from '@warmlane/testing';
import { describe, expect, it } from 'vitest';
import { type GraphSummary, readGraph } from './graph-reader.js';
import { type ByteSource, MalformedError } from './proto-reader.js';
import { packedBytes, sharedWeights, weightBytes, weightsOnDevice, whyNotNeutral } from './shared-weights.js';

/** A file in memory that counts what is read of it. */
function source(bytes: Uint8Array): ByteSource & { read: ByteSource['read']; bytesRead: number } {
  return {
    size: bytes.byteLength,
    bytesRead: 0,
    read(buffer, position) {
      const part = bytes.subarray(position, position + buffer.byteLength);
      buffer.set(part);
      this.bytesRead += part.byteLength;
      return Promise.resolve(part.byteLength);
    },
  };
}

const SIDE = 512;
const weights = bytesOf(noise(SIDE * SIDE, 1));
const stack = model({
  name: 'stack',
  nodes: [
    { op: 'MatMul', inputs: ['x', 'a'], outputs: ['p'], name: 'first' },
    { op: 'Reshape', inputs: ['p', 'shape'], outputs: ['q'] },
    { op: 'Add', inputs: ['q', 'b'], outputs: ['y'] },
  ],
  inputs: [{ name: 'x', dtype: 'float32', dims: ['N', SIDE] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['N', SIDE] }],
  initializers: [
    tensor('a', 'float32', [SIDE, SIDE], weights),
    tensor('b', 'float32', [SIDE], bytesOf(noise(SIDE, 1))),
    tensor('small', 'float32', [255], bytesOf(noise(255, 1))),
    tensor('half', 'float16', [1024], new Uint8Array(2048)),
    tensor('shape', 'int64', [300], bytesOf(new BigInt64Array(300))),
  ],
});

describe('readGraph', () => {
  it('lists nodes and initialisers with where their bytes lie, and reads next to none of those', async () => {
    const file = source(stack);
    const graph = await readGraph(file);
    expect(graph.nodes.map(({ name, operator, inputs }) => [name, operator, inputs])).toEqual([
      ['first', 'MatMul', ['x', 'a']],
      ['Reshape_1', 'Reshape', ['p', 'shape']],
      ['Add_2', 'Add', ['q', 'b']],
    ]);
    expect(graph.initializers.map(({ name, dtype, dims }) => [name, dtype, dims])).toEqual([
      ['a', 'float32', [SIDE, SIDE]],
      ['b', 'float32', [SIDE]],
      ['small', 'float32', [255]],
      ['half', 'float16', [1024]],
      ['shape', 'int64', [300]],
    ]);
    const [a] = graph.initializers;
    expect(a?.data).toMatchObject({ location: null, bytes: weights.byteLength });
    const at = a?.data?.offset ?? 0;
    expect(Buffer.from(stack.subarray(at, at + weights.byteLength)).equals(weights)).toBe(true);
    expect(file.bytesRead).toBeLessThan(weights.byteLength / 4);
  });

  it('finds external data, and graphs within nodes', async () => {
    const { model: external, data } = externalDataModel();
    const [first] = (await readGraph(source(external))).initializers;
    expect(first?.data).toMatchObject({
      location: expect.stringContaining('weights'),
      offset: 0,
      bytes: data.byteLength,
    });
    expect((await readGraph(source(loopModel(8)))).nodes.some((node) => node.subgraphs)).toBe(true);
  });

  it.each([
    ['is cut off', stack.subarray(0, stack.byteLength - 5000)],
    ['is no message', Buffer.from('hello, world')],
  ])('refuses what %s', async (_, bytes) => {
    await expect(readGraph(source(bytes))).rejects.toThrow(MalformedError);
  });
});

describe('sharedWeights', () => {
  it('are floats of 1 KiB and more', async () => {
    const graph = await readGraph(source(stack));
    const ranges = sharedWeights(graph);
    expect(ranges.map((range) => range.name)).toEqual(['a', 'b', 'half']);
    expect(weightBytes(ranges)).toBe(weights.byteLength + 4 * SIDE + 2048);
    expect(packedBytes(graph, ranges)).toBe(weights.byteLength);
  });

  it('of an optimised model are not taken where it holds what the original does not', async () => {
    const graph = await readGraph(source(stack));
    const [node] = graph.nodes;
    if (node === undefined) throw new Error('no node');
    const withNode = (operator: string) => ({ ...graph, nodes: [...graph.nodes, { ...node, operator }] });
    expect(whyNotNeutral(graph, graph)).toBeNull();
    expect(whyNotNeutral(graph, withNode('Cast'))).toMatch(/casts/);
    expect(whyNotNeutral(withNode('Cast'), withNode('Cast'))).toBeNull();
    expect(whyNotNeutral(graph, withNode('MemcpyToHost'))).toMatch(/between devices/);
  });
});

describe('weightsOnDevice', () => {
  const place = (device: string[], host: string[] = []) => [
    ...device.map((name) => ({ name, onProvider: true })),
    ...host.map((name) => ({ name, onProvider: false })),
  ];
  const chosen = async (
    placed: ReturnType<typeof place>,
    change = (graph: GraphSummary) => graph,
  ): Promise<string[]> => {
    const graph = change(await readGraph(source(meanModel())));
    return weightsOnDevice(graph, sharedWeights(graph), placed).map(({ name }) => name);
  };

  it.each([
    ['all nodes on the device', place(['product', 'mean', 'scaled', 'last']), ['a', 'b', 'both']],
    ['one of two readers on the host', place(['product', 'mean', 'scaled'], ['last']), ['a', 'b']],
    ['a reader on the host', place(['product', 'scaled', 'last'], ['mean']), ['a', 'both']],
    ['a name that is on both', place(['product', 'mean', 'mean', 'scaled', 'last'], ['mean']), ['a', 'both']],
    ['all nodes on the host', place([], ['product', 'mean', 'scaled', 'last']), []],
    ['nothing known', [], []],
    ['a node that is not listed', place(['product', 'scaled', 'last']), ['a', 'both']],
    ['new names, all on the device', place(['1', '2', '3', '4', '5']), ['a', 'b', 'both']],
    ['new names, one on the host', place(['product', '2', '3', '4'], ['5']), ['a']],
  ])('with %s', async (_, placed, expected) => {
    expect(await chosen(placed)).toEqual(expected);
  });

  it('counts nodes without a name, or that share one with a node not found, as on the host', async () => {
    const named = (of: string, name: string) => (graph: GraphSummary) => ({
      ...graph,
      nodes: graph.nodes.map((node) => (node.name === of ? { ...node, name } : node)),
    });
    const placed = place(['product', '', 'scaled'], ['last']);
    expect(await chosen(placed, named('mean', ''))).toEqual(['a']);
    expect(await chosen(place(['product', 'scaled'], ['last']), named('mean', 'product'))).toEqual([]);
    expect(await chosen(place(['product', 'product', 'scaled'], ['last']), named('mean', 'product'))).toEqual([
      'a',
      'b',
    ]);
  });

  it('leaves what no node reads in the model', async () => {
    const unused = (graph: GraphSummary) => ({ ...graph, nodes: graph.nodes.slice(0, 1) });
    expect(await chosen(place(['product'], ['other']), unused)).toEqual(['a']);
  });
});
