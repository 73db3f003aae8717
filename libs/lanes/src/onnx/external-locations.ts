import { readExternalEntry } from './external-entry.js';
import { type ByteSource, MalformedError, ProtoReader } from './proto-reader.js';

/** What is followed into: message kind by field number. Everything else of an ONNX file is skipped unread. */
const CHILDREN = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  function: { 7: 'node' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: { 13: 'entry' },
} as const satisfies Record<string, Record<number, string>>;
type Kind = keyof typeof CHILDREN;

const MAX_DEPTH = 64;

/**
 * The external-data locations that an ONNX file names, each once, as written there. A file that is not well-formed
 * gives those found before the damage.
 */
export async function externalLocations(source: ByteSource): Promise<string[]> {
  const found = new Set<string>();
  await walk(new ProtoReader(source), 'model', source.size, 0, found).catch((thrown: unknown) => {
    if (!(thrown instanceof MalformedError)) throw thrown;
  });
  return [...found];
}

async function walk(reader: ProtoReader, kind: Kind, end: number, depth: number, found: Set<string>): Promise<void> {
  if (depth > MAX_DEPTH) throw new MalformedError();
  const children: Record<number, Kind | 'entry'> = CHILDREN[kind];
  while (reader.position < end) {
    const field = await reader.field(end);
    if (field.kind !== 'bytes') continue;
    const childEnd = reader.position + field.length;
    const child = children[field.number];
    if (child === 'entry') {
      const { key, value } = await readExternalEntry(reader, childEnd);
      if (key === 'location') found.add(value);
    } else if (child !== undefined) await walk(reader, child, childEnd, depth + 1, found);
    reader.position = childEnd;
  }
}
