import { closeSync, openSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { WarmlaneError } from '@warmlane/contracts';
import { bfloat16ToFloat32 } from './bfloat16.js';
import { BYTES, bytesField, type Field, fields, integers, VARINT, varintField } from './protobuf.js';

/**
 * onnxruntime-node has no bfloat16 tensors, and its CPU provider hardly any bfloat16 kernel. So a model with bfloat16 is
 * run as float32: every type, tensor and Cast of the graph is changed, inputs and outputs are converted at the border.
 * That leaves out the roundings in between, which makes it the better reference: a lane is compared with what the model
 * means, within the tolerance of bfloat16.
 *
 * The file is changed in its wire form, so that what we do not know of stays as it is. Field numbers: onnx.proto.
 */
export interface Float32Form {
  model: Buffer;
  /** Names of graph inputs and outputs that are bfloat16 in the file. */
  converted: ReadonlySet<string>;
}

const FLOAT = 1;
const BFLOAT16 = 16;

type Kind = 'model' | 'graph' | 'function' | 'node' | 'attribute' | 'tensor' | 'sparse' | 'value' | 'type' | 'elements';

/** Which fields of a message are messages that may speak of a dtype. */
const NESTED: Record<Kind, Readonly<Record<number, Kind>>> = {
  model: { 7: 'graph', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor', 11: 'value', 12: 'value', 13: 'value', 15: 'sparse' },
  function: { 7: 'node', 11: 'attribute', 12: 'value' },
  node: { 5: 'attribute' },
  attribute: {
    5: 'tensor',
    6: 'graph',
    10: 'tensor',
    11: 'graph',
    14: 'type',
    15: 'type',
    22: 'sparse',
    23: 'sparse',
  },
  tensor: {},
  sparse: { 1: 'tensor' },
  value: { 2: 'type' },
  // A sequence's or an optional's element is a type; a tensor's is a number.
  type: { 1: 'elements', 4: 'type', 8: 'elements', 9: 'type' },
  elements: {},
};

const GRAPH = 7;
const GRAPH_INPUT = 11;
const GRAPH_OUTPUT = 12;
const ATTRIBUTE_NAME = 1;
const ATTRIBUTE_INTEGER = 3;
/** Attributes of ONNX and ONNX Runtime whose integer is a dtype. */
const DTYPE_ATTRIBUTES = new Set([
  'to',
  'dtype',
  'output_dtype',
  'output_datatype',
  'stash_type',
  'precision',
  'softmax_precision',
]);

const TENSOR = { dataType: 2, int32Data: 5, rawData: 9, externalData: 13, dataLocation: 14 } as const;

/** The float32 form of a model; null where nothing in it is bfloat16. `folder` holds its external data. */
export function toFloat32Model(model: Buffer, folder: string): Float32Form | null {
  const changed = rewrite(model, 'model', folder);
  if (changed === model) return null;
  const converted = new Set<string>();
  for (const graph of fields(model)) {
    if (graph.number !== GRAPH) continue;
    for (const field of fields(graph.content)) {
      if (field.number !== GRAPH_INPUT && field.number !== GRAPH_OUTPUT) continue;
      if (rewrite(field.content, 'value', folder) !== field.content) converted.add(nameOf(field.content));
    }
  }
  return { model: changed, converted };
}

/** The same buffer where nothing in it is bfloat16. */
function rewrite(message: Buffer, kind: Kind, folder: string): Buffer {
  if (kind === 'tensor') return rewriteTensor(message, folder);
  const isDtype = kind === 'elements' || (kind === 'attribute' && DTYPE_ATTRIBUTES.has(nameOf(message)));
  const dtypeField = kind === 'elements' ? 1 : ATTRIBUTE_INTEGER;
  let changed = false;
  const parts: Buffer[] = [];
  for (const field of fields(message)) {
    let part = field.raw;
    const nested = field.wire === BYTES ? NESTED[kind][field.number] : undefined;
    if (nested !== undefined) {
      const content = rewrite(field.content, nested, folder);
      if (content !== field.content) part = bytesField(field.number, content);
    } else if (isDtype && field.wire === VARINT && field.number === dtypeField && field.value === BigInt(BFLOAT16)) {
      part = varintField(field.number, FLOAT);
    }
    changed ||= part !== field.raw;
    parts.push(part);
  }
  return changed ? Buffer.concat(parts) : message;
}

function nameOf(message: Buffer): string {
  for (const field of fields(message)) if (field.number === ATTRIBUTE_NAME) return field.content.toString('utf8');
  return '';
}

function rewriteTensor(message: Buffer, folder: string): Buffer {
  const all = [...fields(message)];
  const dtype = all.find((field) => field.number === TENSOR.dataType);
  if (dtype?.value !== BigInt(BFLOAT16)) return message;
  const replaced: number[] = Object.values(TENSOR);
  const kept = all.filter((field) => !replaced.includes(field.number)).map((field) => field.raw);
  const floats = bfloat16ToFloat32(bitsOf(all, folder));
  return Buffer.concat([
    ...kept,
    varintField(TENSOR.dataType, FLOAT),
    bytesField(TENSOR.rawData, new Uint8Array(floats.buffer)),
  ]);
}

/** Two bytes per element, aligned, wherever the tensor keeps them. */
function bitsOf(tensor: readonly Field[], folder: string): Uint8Array {
  const external = tensor.filter((field) => field.number === TENSOR.externalData);
  if (external.length > 0) return readExternal(external, folder);
  const raw = tensor.find((field) => field.number === TENSOR.rawData);
  if (raw !== undefined) return Uint8Array.from(raw.content);
  const bits = tensor
    .filter((field) => field.number === TENSOR.int32Data)
    .flatMap((field) => Array.from(integers(field), Number));
  return new Uint8Array(Uint16Array.from(bits).buffer);
}

function readExternal(entries: readonly Field[], folder: string): Uint8Array {
  const values = new Map(
    entries.map(({ content }) => {
      const [key, value] = [...fields(content)].map((field) => field.content.toString('utf8'));
      return [key, value ?? ''];
    }),
  );
  const location = values.get('location') ?? '';
  const file = path.resolve(folder, location);
  if (!file.startsWith(`${path.resolve(folder)}${path.sep}`)) {
    throw new WarmlaneError('bad-request', `external data '${location}' lies outside of the model's folder`);
  }
  const offset = Number(values.get('offset') ?? 0);
  const bytes = new Uint8Array(Number(values.get('length') ?? statSync(file).size - offset));
  const descriptor = openSync(file, 'r');
  try {
    if (readSync(descriptor, bytes, 0, bytes.byteLength, offset) === bytes.byteLength) return bytes;
  } finally {
    closeSync(descriptor);
  }
  throw new WarmlaneError('bad-request', `external data '${location}' is shorter than the model says`);
}
