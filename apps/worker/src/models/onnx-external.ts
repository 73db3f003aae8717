import { type FileHandle, open } from 'node:fs/promises';

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
const CHUNK_BYTES = 65_536;
/** Longest key or value of an external-data entry that is read: file names are at most 4096 bytes. */
const MAX_TEXT_BYTES = 8192;

/**
 * The external-data locations that an ONNX file names, each once, as written there. A file that is not well-formed
 * gives those found before the damage: ONNX Runtime is the one to say what is wrong with it.
 */
export async function externalLocations(path: string): Promise<string[]> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const found = new Set<string>();
    const reader = new ProtoReader(file, size);
    await walk(reader, 'model', size, 0, found).catch((thrown: unknown) => {
      if (!(thrown instanceof MalformedError)) throw thrown;
    });
    return [...found];
  } finally {
    await file.close();
  }
}

async function walk(reader: ProtoReader, kind: Kind, end: number, depth: number, found: Set<string>): Promise<void> {
  if (depth > MAX_DEPTH) throw new MalformedError();
  const children: Record<number, Kind | 'entry'> = CHILDREN[kind];
  while (reader.position < end) {
    const { field, length } = await reader.tag(end);
    const child = children[field];
    if (child === undefined || length === null) {
      reader.position += length ?? 0;
      continue;
    }
    const childEnd = reader.position + length;
    if (child === 'entry') {
      const { key, value } = await entry(reader, childEnd);
      if (key === 'location') found.add(value);
    } else await walk(reader, child, childEnd, depth + 1, found);
    reader.position = childEnd;
  }
}

async function entry(reader: ProtoReader, end: number): Promise<{ key: string; value: string }> {
  const found = { key: '', value: '' };
  while (reader.position < end) {
    const { field, length } = await reader.tag(end);
    if (length === null) continue;
    const next = reader.position + length;
    if (field === 1) found.key = await reader.text(length);
    else if (field === 2) found.value = await reader.text(length);
    reader.position = next;
  }
  return found;
}

class MalformedError extends Error {}

/** Reads the wire format through a window, so that weights of any size are skipped without being read. */
class ProtoReader {
  position = 0;
  private window = Buffer.alloc(0);
  private windowStart = 0;

  constructor(
    private readonly file: FileHandle,
    private readonly size: number,
  ) {}

  /** The next tag. `length`: of what follows where it is length-delimited; null after a number, which is skipped. */
  async tag(end: number): Promise<{ field: number; length: number | null }> {
    const tag = await this.varint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        await this.varint();
        return { field, length: null };
      case 1:
        this.position += 8;
        return { field, length: null };
      case 5:
        this.position += 4;
        return { field, length: null };
      case 2: {
        const length = await this.varint();
        if (this.position + length > end) throw new MalformedError();
        return { field, length };
      }
      default:
        throw new MalformedError();
    }
  }

  async text(length: number): Promise<string> {
    if (length > MAX_TEXT_BYTES) throw new MalformedError();
    await this.fill(length);
    const from = this.position - this.windowStart;
    return this.window.toString('utf8', from, from + length);
  }

  private async varint(): Promise<number> {
    let value = 0;
    let scale = 1;
    for (let at = 0; at < 10; at += 1) {
      await this.fill(1);
      const byte = this.window.readUInt8(this.position - this.windowStart);
      this.position += 1;
      // Above 2^53 digits are lost: only negative numbers are that large, and their value is not used.
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw new MalformedError();
  }

  private async fill(bytes: number): Promise<void> {
    const inside = this.position >= this.windowStart && this.position + bytes <= this.windowStart + this.window.length;
    if (inside) return;
    if (this.position + bytes > this.size) throw new MalformedError();
    const wanted = Math.min(Math.max(bytes, CHUNK_BYTES), this.size - this.position);
    const buffer = Buffer.alloc(wanted);
    const { bytesRead } = await this.file.read(buffer, 0, wanted, this.position);
    if (bytesRead < bytes) throw new MalformedError();
    this.window = buffer.subarray(0, bytesRead);
    this.windowStart = this.position;
  }
}
