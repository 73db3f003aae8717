import type { DType } from '@warmlane/contracts';
import { bytesOf, type Declared, externalTensor, graph, model, tensor } from './onnx-builder.js';

/** Deterministic pseudo-random floats in [-scale, scale]. */
export function noise(count: number, scale: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
}

/** Input and output declared of one dtype and the given dims. */
function same(names: readonly string[], dtype: DType, dims: readonly (number | string | null)[]): Declared[] {
  return names.map((name) => ({ name, dtype, dims }));
}

/** INPUT0 + INPUT1 -> OUTPUT0 and INPUT0 - INPUT1 -> OUTPUT1, int32 [N,16]. */
export function addSubModel(): Uint8Array {
  return model({
    name: 'add_sub',
    nodes: [
      { op: 'Add', inputs: ['INPUT0', 'INPUT1'], outputs: ['OUTPUT0'] },
      { op: 'Sub', inputs: ['INPUT0', 'INPUT1'], outputs: ['OUTPUT1'] },
    ],
    inputs: same(['INPUT0', 'INPUT1'], 'int32', ['N', 16]),
    outputs: same(['OUTPUT0', 'OUTPUT1'], 'int32', ['N', 16]),
  });
}

/** x float32 [N,3,H,W] -> 3x3 convolution to 8 channels, same size, Relu -> y [N,8,H,W]. */
export function convReluModel(): Uint8Array {
  return model({
    name: 'conv_relu',
    nodes: [
      {
        op: 'Conv',
        inputs: ['x', 'w', 'b'],
        outputs: ['c'],
        attributes: { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } },
      },
      { op: 'Relu', inputs: ['c'], outputs: ['y'] },
    ],
    inputs: same(['x'], 'float32', ['N', 3, 'H', 'W']),
    outputs: same(['y'], 'float32', ['N', 8, 'H', 'W']),
    initializers: [
      tensor('w', 'float32', [8, 3, 3, 3], bytesOf(noise(8 * 27, 0.5))),
      tensor('b', 'float32', [8], bytesOf(noise(8, 0.1, 7))),
    ],
  });
}

/** x -> Identity -> y, of any dtype; dims default to [N]. `[]` makes scalars. */
export function identityModel(dtype: DType, dims: readonly (number | string | null)[] = ['N']): Uint8Array {
  return model({
    name: `identity_${dtype}`,
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
    inputs: same(['x'], dtype, dims),
    outputs: same(['y'], dtype, dims),
  });
}

/** x float32 [2,size] x w [size,size] -> y: every dim fixed. */
export function matMulModel(size = 8): Uint8Array {
  return model({
    name: 'matmul',
    nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    inputs: same(['x'], 'float32', [2, size]),
    outputs: same(['y'], 'float32', [2, size]),
    initializers: [tensor('w', 'float32', [size, size], bytesOf(noise(size * size, 1)))],
  });
}

/** x float32 [N] -> positions of what is not zero, int64 [1,count]: the shape follows the data. */
export function nonZeroModel(): Uint8Array {
  return model({
    name: 'non_zero',
    nodes: [{ op: 'NonZero', inputs: ['x'], outputs: ['y'] }],
    inputs: same(['x'], 'float32', ['N']),
    outputs: [{ name: 'y', dtype: 'int64', dims: [1, 'count'] }],
  });
}

/**
 * A run as long as asked: `trips` (int64 scalar) products of a [size,size] matrix with another, so that one trip of the
 * default 256 is about 1 ms on two cores. y is the last product, float32 [size,size].
 */
export function loopModel(size = 256): Uint8Array {
  const square = [size, size];
  const body = graph({
    name: 'body',
    nodes: [
      { op: 'MatMul', inputs: ['state', 'w'], outputs: ['product'] },
      { op: 'Tanh', inputs: ['product'], outputs: ['next'] },
      { op: 'Identity', inputs: ['go'], outputs: ['go_on'] },
    ],
    inputs: [
      { name: 'trip', dtype: 'int64', dims: [] },
      { name: 'go', dtype: 'bool', dims: [] },
      { name: 'state', dtype: 'float32', dims: square },
    ],
    outputs: [
      { name: 'go_on', dtype: 'bool', dims: [] },
      { name: 'next', dtype: 'float32', dims: square },
    ],
  });
  return model({
    name: 'loop',
    nodes: [{ op: 'Loop', inputs: ['trips', '', 'start'], outputs: ['y'], attributes: { body: { graph: body } } }],
    inputs: same(['trips'], 'int64', []),
    outputs: same(['y'], 'float32', square),
    initializers: [
      tensor('start', 'float32', square, bytesOf(noise(size * size, 1))),
      tensor('w', 'float32', square, bytesOf(noise(size * size, 1 / Math.sqrt(size), 3))),
    ],
  });
}

/** a float32 [B,4] (batch on axis 0) and state float32 [2,B,4] (batch on axis 1) -> y = a + state[0] + state[1], [B,4]. */
export function twoBatchAxesModel(): Uint8Array {
  return model({
    name: 'two_batch_axes',
    nodes: [
      { op: 'ReduceSum', inputs: ['state', 'axes'], outputs: ['sum'], attributes: { keepdims: { int: 0 } } },
      { op: 'Add', inputs: ['a', 'sum'], outputs: ['y'] },
    ],
    inputs: [
      { name: 'a', dtype: 'float32', dims: ['B', 4] },
      { name: 'state', dtype: 'float32', dims: [2, 'B', 4] },
    ],
    outputs: same(['y'], 'float32', ['B', 4]),
    initializers: [tensor('axes', 'int64', [1], bytesOf(BigInt64Array.of(0n)))],
  });
}

/** x float32 [N,size] x w -> y, with w in a file beside the model. */
export function externalDataModel(location = 'weights.bin', size = 32): { model: Uint8Array; data: Uint8Array } {
  return {
    model: model({
      name: 'external_data',
      nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
      inputs: same(['x'], 'float32', ['N', size]),
      outputs: same(['y'], 'float32', ['N', size]),
      initializers: [externalTensor('w', 'float32', [size, size], location)],
    }),
    data: bytesOf(noise(size * size, 1)),
  };
}

/** x float32 [N,M] -> Reshape to [2,6] -> y: metadata takes any N and M, the graph only 12 elements. */
export function reshapeModel(): Uint8Array {
  return model({
    name: 'reshape',
    nodes: [{ op: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
    inputs: same(['x'], 'float32', ['N', 'M']),
    outputs: same(['y'], 'float32', [2, 6]),
    initializers: [tensor('shape', 'int64', [2], bytesOf(BigInt64Array.of(2n, 6n)))],
  });
}

/** x float32 [N] -> Reshape to the int64 [2] of the input `shape` -> y: that input is read on the host, on CUDA too. */
export function reshapeByInputModel(): Uint8Array {
  return model({
    name: 'reshape_by_input',
    nodes: [{ op: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
    inputs: [
      { name: 'x', dtype: 'float32', dims: ['N'] },
      { name: 'shape', dtype: 'int64', dims: [2] },
    ],
    outputs: same(['y'], 'float32', [null, null]),
  });
}

/** x float32 [N,?] with an anonymous second dim -> x + 1 -> y with anonymous dims: shapes that only a run reveals. */
export function anonymousDimsModel(): Uint8Array {
  return model({
    name: 'anonymous_dims',
    nodes: [{ op: 'Add', inputs: ['x', 'one'], outputs: ['y'] }],
    inputs: same(['x'], 'float32', ['N', null]),
    outputs: same(['y'], 'float32', [null, null]),
    initializers: [tensor('one', 'float32', [1], bytesOf(Float32Array.of(1)))],
  });
}

/** x string [N] -> Concat of x with itself along axis 0 -> y string [2N]: strings whose count changes. */
export function stringConcatModel(): Uint8Array {
  return model({
    name: 'string_concat',
    nodes: [{ op: 'Concat', inputs: ['x', 'x'], outputs: ['y'], attributes: { axis: { int: 0 } } }],
    inputs: same(['x'], 'string', ['N']),
    outputs: same(['y'], 'string', ['M']),
  });
}

/** x float32 [N] -> sqrt -> y: NaN for negative numbers. */
export function sqrtModel(): Uint8Array {
  return model({
    name: 'sqrt',
    nodes: [{ op: 'Sqrt', inputs: ['x'], outputs: ['y'] }],
    inputs: same(['x'], 'float32', ['N']),
    outputs: same(['y'], 'float32', ['N']),
  });
}

/**
 * x bfloat16 [N] + Cast(f float32 [N]) -> doubled if `doubled` (bool scalar), else halved -> y bfloat16 [N]: weights, a
 * Cast and subgraphs of a dtype for which the CPU provider has hardly a kernel.
 */
export function bfloat16BranchModel(): Uint8Array {
  const factor = (name: string, bits: number) => tensor(name, 'bfloat16', [1], Uint8Array.of(bits & 0xff, bits >> 8));
  const branch = (name: string, by: string) =>
    graph({
      name,
      nodes: [{ op: 'Mul', inputs: ['sum', by], outputs: [name] }],
      inputs: [],
      outputs: same([name], 'bfloat16', ['N']),
    });
  return model({
    name: 'bfloat16_branch',
    nodes: [
      { op: 'Cast', inputs: ['f'], outputs: ['b'], attributes: { to: { int: 16 } } },
      { op: 'Add', inputs: ['x', 'b'], outputs: ['sum'] },
      {
        op: 'If',
        inputs: ['doubled'],
        outputs: ['y'],
        attributes: {
          then_branch: { graph: branch('doubled_sum', 'two') },
          else_branch: { graph: branch('halved_sum', 'half') },
        },
      },
    ],
    inputs: [...same(['x'], 'bfloat16', ['N']), ...same(['f'], 'float32', ['N']), ...same(['doubled'], 'bool', [])],
    outputs: same(['y'], 'bfloat16', ['N']),
    // 2 and 0.5
    initializers: [factor('two', 0x4000), factor('half', 0x3f00)],
  });
}

/** Weights of {@link meanModel}: `a` [width,width], the others [width]. */
export function meanWeights(width: number): Record<'a' | 'b' | 'both', Float32Array> {
  return {
    a: noise(width * width, Math.sqrt(3 / width)),
    b: noise(width, 1, 3),
    both: noise(width, 1, 5),
  };
}

/**
 * x float32 [N,width] -> MatMul by `a` -> Mean with `b` -> Mul by `both` -> Mean with `both` -> y: CUDA's provider has no
 * kernel for Mean, so that of the weights `a` alone is read on the device only.
 */
export function meanModel(width = 512): Uint8Array {
  const { a, b, both } = meanWeights(width);
  return model({
    name: 'mean',
    nodes: [
      { op: 'MatMul', inputs: ['x', 'a'], outputs: ['product'], name: 'product' },
      { op: 'Mean', inputs: ['product', 'b'], outputs: ['mean'], name: 'mean' },
      { op: 'Mul', inputs: ['mean', 'both'], outputs: ['scaled'], name: 'scaled' },
      { op: 'Mean', inputs: ['scaled', 'both'], outputs: ['y'], name: 'last' },
    ],
    inputs: same(['x'], 'float32', ['N', width]),
    outputs: same(['y'], 'float32', ['N', width]),
    initializers: [
      tensor('a', 'float32', [width, width], bytesOf(a)),
      tensor('b', 'float32', [width], bytesOf(b)),
      tensor('both', 'float32', [width], bytesOf(both)),
    ],
  });
}

/** x float32 [N,4,W] -> softmax over W -> y: every value depends on all of its row. */
export function softmaxModel(): Uint8Array {
  return model({
    name: 'softmax',
    nodes: [{ op: 'Softmax', inputs: ['x'], outputs: ['y'], attributes: { axis: { int: 2 } } }],
    inputs: same(['x'], 'float32', ['N', 4, 'W']),
    outputs: same(['y'], 'float32', ['N', 4, 'W']),
  });
}

/** x float32 [N,4] -> x less the mean over the batch -> y: the items of a batch are not computed each by itself. */
export function centredModel(): Uint8Array {
  return model({
    name: 'centred',
    nodes: [
      { op: 'ReduceMean', inputs: ['x'], outputs: ['mean'], attributes: { axes: { ints: [0] } } },
      { op: 'Sub', inputs: ['x', 'mean'], outputs: ['y'] },
    ],
    inputs: same(['x'], 'float32', ['N', 4]),
    outputs: same(['y'], 'float32', ['N', 4]),
  });
}

/** ids int64 [N,2] -> rows of a table [10,4] -> y float32 [N,2,4]; row n holds 10n to 10n + 3. Other ids make it fail. */
export function gatherModel(): Uint8Array {
  const table = Float32Array.from({ length: 40 }, (_, at) => Math.floor(at / 4) * 10 + (at % 4));
  return model({
    name: 'gather',
    nodes: [{ op: 'Gather', inputs: ['table', 'ids'], outputs: ['y'] }],
    inputs: same(['ids'], 'int64', ['N', 2]),
    outputs: same(['y'], 'float32', ['N', 2, 4]),
    initializers: [tensor('table', 'float32', [10, 4], bytesOf(table))],
  });
}

/**
 * a / b -> y, int64 [N,2]. A zero in b makes the run fail; -2^63 / -1 ends the process by SIGFPE (on x64, ORT 1.29; int32 is
 * computed in vectors there, which do not trap).
 */
export function divideModel(): Uint8Array {
  return model({
    name: 'divide',
    nodes: [{ op: 'Div', inputs: ['a', 'b'], outputs: ['y'] }],
    inputs: same(['a', 'b'], 'int64', ['N', 2]),
    outputs: same(['y'], 'int64', ['N', 2]),
  });
}
