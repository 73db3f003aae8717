import type { DType, NamedTensor } from '@warmlane/contracts';
import type { FakeModel } from './fake-worker.fixture.js';

/** y = 2 x, over float32 [N,2]. */
export const DOUBLE: FakeModel = {
  name: 'double',
  version: '1',
  metadata: {
    inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 2] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 2] }],
  },
  compute: (inputs) =>
    inputs.map(({ dims, data }) => {
      const values = new Float32Array(new Uint8Array(data).buffer).map((value) => value * 2);
      return { name: 'y', dtype: 'float32', dims, data: Buffer.from(values.buffer) };
    }),
};

const ALL: DType[] = [
  'bool',
  'uint8',
  'uint16',
  'uint32',
  'uint64',
  'int8',
  'int16',
  'int32',
  'int64',
  'float16',
  'bfloat16',
  'float32',
  'float64',
  'string',
];

/** Gives its one input back; one such model per dtype, named `echo-<dtype>`. */
export const ECHOES: FakeModel[] = ALL.map((dtype) => ({
  name: `echo-${dtype}`,
  version: '1',
  metadata: {
    inputs: [{ name: 'x', dtype, dims: ['N'] }],
    outputs: [{ name: 'y', dtype, dims: ['N'] }],
  },
  compute: (inputs): NamedTensor[] => inputs.map((input) => ({ ...input, name: 'y' })),
}));
