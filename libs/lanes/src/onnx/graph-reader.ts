import type { DType } from '@warmlane/contracts';
import { readExternalEntry } from './external-entry.js';
import { type ByteSource, MalformedError, ProtoReader } from './proto-reader.js';

/** An initialiser of a model's main graph. */
export interface Initializer {
  name: string;
  /** Null for types that Warmlane does not carry. */
  dtype: DType | null;
  dims: number[];
  /** Where its little-endian bytes lie; null where they are written one number at a time. */
  data: {
    /** File beside the model as the model writes it; null: the model's own file. */
    location: string | null;
    offset: number;
    bytes: number;
  } | null;
}

export interface GraphNode {
  name: string;
  /** Such as `Conv`. */
  operator: string;
  /** Empty for ONNX's own. */
  domain: string;
  inputs: string[];
  /** It holds graphs of its own (If, Loop, Scan). */
  subgraphs: boolean;
}

/** What a model's main graph is made of, without its weights. */
export interface GraphSummary {
  nodes: GraphNode[];
  initializers: Initializer[];
}

/** TensorProto.DataType of onnx.proto. */
const DTYPES: Record<number, DType> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  4: 'uint16',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  8: 'string',
  9: 'bool',
  10: 'float16',
  11: 'float64',
  12: 'uint32',
  13: 'uint64',
  16: 'bfloat16',
};

const MODEL_GRAPH = 7;
const GRAPH = { node: 1, initializer: 5 } as const;
const NODE = { input: 1, name: 3, operator: 4, attribute: 5, domain: 7 } as const;
const ATTRIBUTE_GRAPHS = [6, 11];
const TENSOR = { dims: 1, dataType: 2, name: 8, rawData: 9, externalData: 13 } as const;
const MAX_TEXT_BYTES = 65_536;

/**
 * Nodes and initialisers of a model's main graph, read by jumping from field to field: the weights stay where they are,
 * so the model may have any size. Throws {@link MalformedError} for what is no ONNX file.
 */
export async function readGraph(source: ByteSource): Promise<GraphSummary> {
  const reader = new ProtoReader(source);
  const summary: GraphSummary = { nodes: [], initializers: [] };
  await eachField(reader, source.size, async (number, end) => {
    if (number !== MODEL_GRAPH) return;
    await eachField(reader, end, async (inGraph, fieldEnd) => {
      if (inGraph === GRAPH.node) summary.nodes.push(await readNode(reader, fieldEnd));
      else if (inGraph === GRAPH.initializer) summary.initializers.push(await readTensor(reader, fieldEnd));
    });
  });
  return summary;
}

/** Calls `visit` at the start of every field that has a length; goes on at its end whatever was read of it. */
async function eachField(
  reader: ProtoReader,
  end: number,
  visit: (number: number, fieldEnd: number) => Promise<void>,
  value: (number: number, value: number) => void = () => undefined,
): Promise<void> {
  while (reader.position < end) {
    const field = await reader.field(end);
    if (field.kind === 'value') value(field.number, field.value);
    if (field.kind !== 'bytes') continue;
    const fieldEnd = reader.position + field.length;
    await visit(field.number, fieldEnd);
    reader.position = fieldEnd;
  }
}

async function readNode(reader: ProtoReader, end: number): Promise<GraphNode> {
  const node: GraphNode = { name: '', operator: '', domain: '', inputs: [], subgraphs: false };
  await eachField(reader, end, async (number, fieldEnd) => {
    const text = () => reader.text(fieldEnd - reader.position, MAX_TEXT_BYTES);
    if (number === NODE.input) node.inputs.push(await text());
    else if (number === NODE.name) node.name = await text();
    else if (number === NODE.operator) node.operator = await text();
    else if (number === NODE.domain) node.domain = await text();
    else if (number === NODE.attribute) {
      await eachField(reader, fieldEnd, async (inAttribute) => {
        node.subgraphs ||= ATTRIBUTE_GRAPHS.includes(inAttribute);
      });
    }
  });
  return node;
}

async function readTensor(reader: ProtoReader, end: number): Promise<Initializer> {
  const found: Initializer = { name: '', dtype: null, dims: [], data: null };
  const external = new Map<string, string>();
  await eachField(
    reader,
    end,
    async (number, fieldEnd) => {
      if (number === TENSOR.name) found.name = await reader.text(fieldEnd - reader.position, MAX_TEXT_BYTES);
      else if (number === TENSOR.dims) while (reader.position < fieldEnd) found.dims.push(await reader.varint());
      else if (number === TENSOR.externalData) {
        const { key, value } = await readExternalEntry(reader, fieldEnd);
        external.set(key, value);
      } else if (number === TENSOR.rawData) {
        found.data = { location: null, offset: reader.position, bytes: fieldEnd - reader.position };
      }
    },
    (number, value) => {
      if (number === TENSOR.dims) found.dims.push(value);
      else if (number === TENSOR.dataType) found.dtype = DTYPES[value] ?? null;
    },
  );
  const location = external.get('location');
  if (location !== undefined) {
    const bytes = Number(external.get('length') ?? Number.NaN);
    // Without a length it is all of the file, which is not looked at here.
    found.data = Number.isSafeInteger(bytes) ? { location, offset: Number(external.get('offset') ?? 0), bytes } : null;
  }
  if (found.name === '') throw new MalformedError();
  return found;
}
