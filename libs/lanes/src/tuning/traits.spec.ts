import type { ModelMetadata } from '@warmlane/contracts';
import { convReluModel, matMulModel } from '@warmlane/testing';
import { describe, expect, it } from 'vitest';
import { readGraph } from '../onnx/graph-reader.js';
import { tuningTraits } from './traits.js';

const device = { provider: 'cuda', cpus: 8 } as const;
const metadata: ModelMetadata = {
  inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 3] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 3] }],
};
const graphOf = (bytes: Uint8Array) =>
  readGraph({
    size: bytes.byteLength,
    read: async (buffer, position) => {
      const part = bytes.subarray(position, position + buffer.byteLength);
      buffer.set(part);
      return part.byteLength;
    },
  });

describe('tuningTraits', () => {
  it('reads convolutions off the graph', async () => {
    expect(tuningTraits(device, metadata, await graphOf(convReluModel()))).toEqual({
      ...device,
      conv: true,
      conv1d: false,
      float32: true,
    });
    expect(tuningTraits(device, metadata, await graphOf(matMulModel()))).toMatchObject({ conv: false, conv1d: false });
  });

  it('knows a 1-d convolution by its weights, and takes an unreadable or nested graph for anything', () => {
    const node = { name: 'c', operator: 'Conv', domain: '', inputs: ['x', 'w'], subgraphs: false };
    const weights = { name: 'w', dtype: 'float32', dims: [64, 64, 9], data: null } as const;
    const graph = { nodes: [node], initializers: [{ ...weights, dims: [...weights.dims] }] };
    expect(tuningTraits(device, metadata, graph)).toMatchObject({ conv: true, conv1d: true });
    expect(tuningTraits(device, metadata, null)).toMatchObject({ conv: true, conv1d: true });
    const loop = { nodes: [{ ...node, operator: 'Loop', subgraphs: true }], initializers: [] };
    expect(tuningTraits(device, metadata, loop)).toMatchObject({ conv: true });
  });

  it('a model without float32 has no tf32 to choose', () => {
    const half: ModelMetadata = {
      inputs: [{ name: 'x', dtype: 'float16', dims: ['N'] }],
      outputs: [{ name: 'y', dtype: 'float16', dims: ['N'] }],
    };
    expect(tuningTraits(device, half, { nodes: [], initializers: [] }).float32).toBe(false);
  });
});
