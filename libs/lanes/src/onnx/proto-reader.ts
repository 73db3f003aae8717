/** Bytes of a file, of any size, read where they are wanted. */
export interface ByteSource {
  readonly size: number;
  /** Fills the buffer from a position on. @returns how many bytes there were */
  read(buffer: Uint8Array, position: number): Promise<number>;
}

/** The file is no well-formed protobuf message. ONNX Runtime is the one to say what is wrong with it. */
export class MalformedError extends Error {}

/** One field of a message: a number, or `length` bytes from the reader's position on. */
export type ProtoField =
  | { number: number; kind: 'value'; value: number }
  | { number: number; kind: 'bytes'; length: number }
  /** Eight or four bytes, skipped. */
  | { number: number; kind: 'fixed' };

const CHUNK_BYTES = 65_536;

/** Reads protobuf's wire format through a window, so that weights of any size are skipped without being read. */
export class ProtoReader {
  position = 0;
  private window: Buffer = Buffer.alloc(0);
  private windowStart = 0;

  constructor(private readonly source: ByteSource) {}

  /** The next field of a message that ends at `end`; the reader stands behind its tag, or behind a number. */
  async field(end: number): Promise<ProtoField> {
    const tag = await this.varint();
    const number = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        return { number, kind: 'value', value: await this.varint() };
      case 1:
        this.position += 8;
        return { number, kind: 'fixed' };
      case 5:
        this.position += 4;
        return { number, kind: 'fixed' };
      case 2: {
        const length = await this.varint();
        if (this.position + length > end) throw new MalformedError();
        return { number, kind: 'bytes', length };
      }
      default:
        throw new MalformedError();
    }
  }

  async text(length: number, mostBytes: number): Promise<string> {
    if (length > mostBytes) throw new MalformedError();
    await this.fill(length);
    const from = this.position - this.windowStart;
    this.position += length;
    return this.window.toString('utf8', from, from + length);
  }

  /** Above 2^53 digits are lost: only negative numbers are that large, and none that is used here is negative. */
  async varint(): Promise<number> {
    let value = 0;
    let scale = 1;
    for (let at = 0; at < 10; at += 1) {
      await this.fill(1);
      const byte = this.window.readUInt8(this.position - this.windowStart);
      this.position += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw new MalformedError();
  }

  private async fill(bytes: number): Promise<void> {
    const inside = this.position >= this.windowStart && this.position + bytes <= this.windowStart + this.window.length;
    if (inside) return;
    if (this.position + bytes > this.source.size) throw new MalformedError();
    const buffer = Buffer.alloc(Math.min(Math.max(bytes, CHUNK_BYTES), this.source.size - this.position));
    const read = await this.source.read(buffer, this.position);
    if (read < bytes) throw new MalformedError();
    this.window = buffer.subarray(0, read);
    this.windowStart = this.position;
  }
}
