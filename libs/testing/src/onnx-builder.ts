import { type DType, elementBytes } from '@warmlane/contracts';
import onnxProto from 'onnx-proto';

const { onnx } = onnxProto;

/** ONNX Runtime 1.29 reads IR up to 13; 8 with operator set 17 has bfloat16 in every operator used here. */
const IR_VERSION = 8;
const OPSET = 17;

const TYPES: Record<DType, number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
};

/** A declared input or output: a dim is a size or a symbolic name; null dims are anonymous. */
export interface Declared {
  name: string;
  dtype: DType;
  dims: readonly (number | string | null)[];
}

type Attribute =
  | { ints: readonly number[] }
  | { int: number }
  | { graph: InstanceType<typeof onnx.GraphProto> }
  | { tensor: InstanceType<typeof onnx.TensorProto> };

export interface Node {
  op: string;
  inputs: readonly string[];
  outputs: readonly string[];
  name?: string;
  attributes?: Readonly<Record<string, Attribute>>;
}

function valueInfo({ name, dtype, dims }: Declared): InstanceType<typeof onnx.ValueInfoProto> {
  const dim = dims.map((size) =>
    typeof size === 'number' ? { dimValue: size } : size === null ? {} : { dimParam: size },
  );
  return onnx.ValueInfoProto.create({ name, type: { tensorType: { elemType: TYPES[dtype], shape: { dim } } } });
}

/** An initialiser. `data` is raw, little-endian. */
export function tensor(
  name: string,
  dtype: Exclude<DType, 'string'>,
  dims: readonly number[],
  data: Uint8Array,
): InstanceType<typeof onnx.TensorProto> {
  return onnx.TensorProto.create({ name, dataType: TYPES[dtype], dims: [...dims], rawData: data });
}

/** An initialiser whose bytes lie in a file beside the model. */
export function externalTensor(
  name: string,
  dtype: Exclude<DType, 'string'>,
  dims: readonly number[],
  location: string,
): InstanceType<typeof onnx.TensorProto> {
  const length = dims.reduce((product, dim) => product * dim, elementBytes(dtype) ?? 0);
  return onnx.TensorProto.create({
    name,
    dataType: TYPES[dtype],
    dims: [...dims],
    dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
    externalData: [
      { key: 'location', value: location },
      { key: 'offset', value: '0' },
      { key: 'length', value: String(length) },
    ],
  });
}

function attribute(name: string, given: Attribute): InstanceType<typeof onnx.AttributeProto> {
  const { AttributeType } = onnx.AttributeProto;
  if ('ints' in given) return onnx.AttributeProto.create({ name, type: AttributeType.INTS, ints: [...given.ints] });
  if ('int' in given) return onnx.AttributeProto.create({ name, type: AttributeType.INT, i: given.int });
  if ('graph' in given) return onnx.AttributeProto.create({ name, type: AttributeType.GRAPH, g: given.graph });
  return onnx.AttributeProto.create({ name, type: AttributeType.TENSOR, t: given.tensor });
}

export interface Graph {
  name: string;
  nodes: readonly Node[];
  inputs: readonly Declared[];
  outputs: readonly Declared[];
  initializers?: readonly InstanceType<typeof onnx.TensorProto>[];
}

export function graph({
  name,
  nodes,
  inputs,
  outputs,
  initializers = [],
}: Graph): InstanceType<typeof onnx.GraphProto> {
  return onnx.GraphProto.create({
    name,
    node: nodes.map((node, at) => ({
      opType: node.op,
      name: node.name ?? `${node.op}_${at}`,
      input: [...node.inputs],
      output: [...node.outputs],
      attribute: Object.entries(node.attributes ?? {}).map(([key, value]) => attribute(key, value)),
    })),
    input: inputs.map(valueInfo),
    output: outputs.map(valueInfo),
    initializer: [...initializers],
  });
}

/** The bytes of a model file. */
export function model(of: Graph): Uint8Array {
  const proto = onnx.ModelProto.create({
    irVersion: IR_VERSION,
    producerName: 'warmlane-testing',
    opsetImport: [{ domain: '', version: OPSET }],
    graph: graph(of),
  });
  return Uint8Array.from(onnx.ModelProto.encode(proto).finish());
}

/**
 * A model with an output more, `checksum` [N]: the sum of squares over all but the first axis of its first output. It says
 * for a few bytes whether a run was right.
 */
export function withChecksum(bytes: Uint8Array): Uint8Array {
  const proto = onnx.ModelProto.decode(bytes);
  const { graph: inner } = proto;
  const [first] = inner?.output ?? [];
  const rank = first?.type?.tensorType?.shape?.dim?.length ?? 0;
  if (!inner || !first?.name || rank < 2) throw new Error('the first output has no axes to sum over');
  const axes = Array.from({ length: rank - 1 }, (_, at) => at + 1);
  const node = { op: 'ReduceSumSquare', inputs: [first.name], outputs: ['checksum'], name: 'checksum' };
  const attributes = { axes: { ints: axes }, keepdims: { int: 0 } };
  inner.node?.push(...(graph({ name: '', nodes: [{ ...node, attributes }], inputs: [], outputs: [] }).node ?? []));
  inner.output?.push(valueInfo({ name: 'checksum', dtype: 'float32', dims: [null] }));
  return Uint8Array.from(onnx.ModelProto.encode(proto).finish());
}

/** Raw bytes of numbers. */
export function bytesOf(values: Float32Array | BigInt64Array | Int32Array | Uint8Array): Uint8Array {
  return new Uint8Array(values.buffer.slice(values.byteOffset, values.byteOffset + values.byteLength));
}
