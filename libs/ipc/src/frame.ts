import { WarmlaneError } from '@warmlane/contracts';

/**
 * The wire format of one message, little-endian: u32 header bytes, u32 number of attachments, one u32 size per
 * attachment, the header as JSON, the attachments back to back.
 */
export interface Frame {
  header: unknown;
  attachments: Uint8Array[];
}

export interface FrameLimits {
  /** Largest JSON header, bytes. */
  headerBytes: number;
  /** Most attachments of one frame. */
  attachments: number;
  /** Largest sum of attachment sizes, bytes. */
  bodyBytes: number;
}

/** 4 GiB of attachments is the largest ArrayBuffer of Node 20; a request of four 1 GiB tensors does not fit beside it. */
export const DEFAULT_FRAME_LIMITS: FrameLimits = {
  headerBytes: 4 * 2 ** 20,
  attachments: 4096,
  bodyBytes: 3 * 2 ** 30,
};

/** Attachments start at multiples of this in memory, so that any typed array can be a view of them. */
const ALIGNMENT = 64;
/** Memory of smaller frames costs nothing to speak of; larger is not kept for a frame that may never come. */
const SPARE_LEAST_BYTES = 64 * 1024;
const SPARE_MOST_BYTES = 64 * 2 ** 20;
const SPARES = 2;
/** Below this, one copy into one buffer is cheaper than a gathered write of several. */
const GATHER_BYTES = 32 * 1024;

/** The buffers to write, in order. Large attachments are passed on as they are: do not change them until written. */
export function encodeFrame(header: unknown, attachments: readonly Uint8Array[], limits: FrameLimits): Uint8Array[] {
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  const body = attachments.reduce((sum, part) => sum + part.byteLength, 0);
  checkSizes(json.byteLength, attachments.length, body, limits);
  const prefixBytes = 8 + 4 * attachments.length;
  const gather = body > GATHER_BYTES;
  const head = Buffer.allocUnsafe(prefixBytes + json.byteLength + (gather ? 0 : body));
  head.writeUInt32LE(json.byteLength, 0);
  head.writeUInt32LE(attachments.length, 4);
  attachments.forEach((part, at) => {
    head.writeUInt32LE(part.byteLength, 8 + 4 * at);
  });
  head.set(json, prefixBytes);
  if (gather) return [head, ...attachments];
  let at = prefixBytes + json.byteLength;
  for (const part of attachments) {
    head.set(part, at);
    at += part.byteLength;
  }
  return [head];
}

function checkSizes(headerBytes: number, attachments: number, bodyBytes: number, limits: FrameLimits): void {
  const refuse = (what: string, got: number, most: number): never => {
    throw new WarmlaneError(
      'too-large',
      `message between processes: ${what} ${got}, at most ${most}`,
      'Send smaller tensors; a frame of lying sizes means that the peer is broken and must be restarted.',
    );
  };
  if (headerBytes > limits.headerBytes) refuse('header bytes', headerBytes, limits.headerBytes);
  if (attachments > limits.attachments) refuse('attachments', attachments, limits.attachments);
  if (bodyBytes > limits.bodyBytes) refuse('attachment bytes', bodyBytes, limits.bodyBytes);
}

interface Body {
  header: unknown;
  attachments: Uint8Array[];
  /** Attachment being filled and the bytes that it has. */
  index: number;
  filled: number;
}

/** Cuts a byte stream into frames. After it threw, the stream has no frame boundary any more: close it. */
export class FrameReader {
  readonly #limits: FrameLimits;
  /** Memory of frames that nobody looks at any more. */
  readonly #spare: ArrayBufferLike[] = [];
  #head: Buffer = Buffer.alloc(0);
  #body: Body | null = null;

  constructor(limits: FrameLimits) {
    this.#limits = limits;
  }

  /**
   * Calls `deliver` for each frame that ends in this chunk, which is not looked at afterwards. Throws WarmlaneError on a
   * frame that cannot be right.
   */
  push(chunk: Buffer, deliver: (frame: Frame) => void): void {
    let rest = chunk;
    while (rest.byteLength > 0 || this.#body !== null) {
      if (this.#body === null) {
        const after = this.#readHead(rest);
        if (after === null) return;
        rest = after;
      }
      const body = this.#body;
      if (body === null) return;
      rest = fill(body, rest);
      if (body.index < body.attachments.length) return;
      this.#body = null;
      deliver({ header: body.header, attachments: body.attachments });
    }
  }

  /** Takes the memory of a frame's attachments back for later frames: nobody may look at them any more. */
  recycle(attachments: readonly Uint8Array[]): void {
    const [first] = attachments;
    if (first === undefined || first.buffer.byteLength < SPARE_LEAST_BYTES) return;
    if (first.buffer.byteLength > SPARE_MOST_BYTES) return;
    this.#spare.push(first.buffer);
    if (this.#spare.length > SPARES) this.#spare.sort((a, b) => b.byteLength - a.byteLength).pop();
  }

  /** One piece of memory per frame, cut into aligned slices. */
  #allocate(sizes: readonly number[]): Uint8Array[] {
    if (sizes.length === 0) return [];
    const padded = sizes.map((size) => Math.ceil(size / ALIGNMENT) * ALIGNMENT);
    const whole = this.#memory(padded.reduce((sum, size) => sum + size, 0));
    let at = 0;
    return sizes.map((size, index) => {
      const part = new Uint8Array(whole, at, size);
      at += padded[index] ?? 0;
      return part;
    });
  }

  #memory(bytes: number): ArrayBufferLike {
    const fitting = this.#spare.findIndex((spare) => spare.byteLength >= bytes);
    const [spare] = bytes >= SPARE_LEAST_BYTES && fitting >= 0 ? this.#spare.splice(fitting, 1) : [];
    return spare ?? Buffer.allocUnsafeSlow(bytes).buffer;
  }

  /** Parses sizes and header; returns what follows them, or null while they are not complete. */
  #readHead(chunk: Buffer): Buffer | null {
    const whole = this.#head.byteLength === 0;
    const data = whole ? chunk : Buffer.concat([this.#head, chunk]);
    const keep = (): null => {
      // The chunk's memory belongs to the stream, which may write the next one into it.
      this.#head = whole ? Buffer.from(data) : data;
      return null;
    };
    if (data.byteLength < 8) return keep();
    const headerBytes = data.readUInt32LE(0);
    const count = data.readUInt32LE(4);
    checkSizes(headerBytes, count, 0, this.#limits);
    const prefixBytes = 8 + 4 * count;
    if (data.byteLength < prefixBytes + headerBytes) return keep();
    const sizes = Array.from({ length: count }, (_, at) => data.readUInt32LE(8 + 4 * at));
    const bodyBytes = sizes.reduce((sum, size) => sum + size, 0);
    checkSizes(headerBytes, count, bodyBytes, this.#limits);
    this.#head = Buffer.alloc(0);
    this.#body = {
      header: parseHeader(data.toString('utf8', prefixBytes, prefixBytes + headerBytes)),
      attachments: this.#allocate(sizes),
      index: 0,
      filled: 0,
    };
    return data.subarray(prefixBytes + headerBytes);
  }
}

function parseHeader(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new WarmlaneError(
      'internal',
      'message between processes: its header is not JSON',
      'The peer is broken: restart it.',
      { cause: error },
    );
  }
}

/** Copies from the chunk into the attachments; returns what is left of the chunk. */
function fill(body: Body, chunk: Buffer): Buffer {
  let at = 0;
  for (;;) {
    const target = body.attachments[body.index];
    if (target === undefined) break;
    const wanted = target.byteLength - body.filled;
    const got = Math.min(wanted, chunk.byteLength - at);
    if (got > 0) target.set(chunk.subarray(at, at + got), body.filled);
    at += got;
    body.filled += got;
    if (got < wanted) break;
    body.index += 1;
    body.filled = 0;
  }
  return chunk.subarray(at);
}
