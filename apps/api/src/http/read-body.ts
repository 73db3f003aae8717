import type { Hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { createGunzip, createInflate } from 'node:zlib';
import { WarmlaneError } from '@warmlane/contracts';
import type { BodyMemory } from './body-memory.js';
import type { Reservation } from './bytes-in-flight.js';

export interface BodyLimits {
  /** Bytes. */
  limit: number;
  reservation: Reservation;
}

export function bodyTooLarge(limit: number): WarmlaneError {
  return new WarmlaneError('too-large', `the body is larger than ${limit} bytes`, 'Send a smaller body.');
}

/**
 * Reads a body whole. `declared` is its content-length, reserved already; without one each chunk is reserved as it comes.
 * The result owns its memory where it is large, so that it can be moved to a thread; unless `memory` gives it.
 */
export function readBody(
  stream: Readable,
  declared: number | null,
  limits: BodyLimits,
  hash: Hash | null,
  memory: BodyMemory | null = null,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const sink = declared === null ? new ChunkSink(limits) : new SizedSink(declared, memory);
    let open = true;
    const fail = (error: WarmlaneError): void => {
      open = false;
      stream.removeAllListeners('data');
      stream.resume();
      reject(error);
    };
    stream.on('data', (chunk: Buffer) => {
      try {
        sink.push(chunk);
        hash?.update(chunk);
      } catch (error) {
        fail(WarmlaneError.from(error));
      }
    });
    stream.once('end', () => {
      open = false;
      resolve(sink.result());
    });
    const onBroken = (): void => {
      if (open) fail(brokenOff());
    };
    stream.once('error', onBroken);
    stream.once('close', onBroken);
  });
}

function brokenOff(): WarmlaneError {
  return new WarmlaneError('canceled', 'the client broke off before the body was complete');
}

interface Sink {
  push(chunk: Buffer): void;
  result(): Buffer;
}

/** A body of known length goes into one buffer; one that arrives in a single chunk is not copied. */
class SizedSink implements Sink {
  #first: Buffer | null = null;
  #whole: Buffer | null = null;
  #at = 0;

  constructor(
    private readonly size: number,
    private readonly memory: BodyMemory | null,
  ) {}

  push(chunk: Buffer): void {
    if (this.#at === 0 && chunk.byteLength === this.size) {
      this.#first = chunk;
    } else {
      this.#whole ??= this.memory?.take(this.size) ?? Buffer.allocUnsafeSlow(this.size);
      this.#whole.set(chunk, this.#at);
    }
    this.#at += chunk.byteLength;
  }

  result(): Buffer {
    return this.#first ?? this.#whole?.subarray(0, this.#at) ?? Buffer.alloc(0);
  }
}

class ChunkSink implements Sink {
  readonly #chunks: Buffer[] = [];
  #size = 0;

  constructor(private readonly limits: BodyLimits) {}

  push(chunk: Buffer): void {
    this.#size += chunk.byteLength;
    if (this.#size > this.limits.limit) throw bodyTooLarge(this.limits.limit);
    this.limits.reservation.add(chunk.byteLength);
    this.#chunks.push(chunk);
  }

  result(): Buffer {
    if (this.#chunks.length === 1 && this.#chunks[0] !== undefined) return this.#chunks[0];
    const whole = Buffer.allocUnsafeSlow(this.#size);
    let at = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, at);
      at += chunk.byteLength;
    }
    return whole;
  }
}

export const REQUEST_ENCODINGS = 'gzip, deflate';

/**
 * Unpacks a body by its content-encoding, off the event loop and within the same limits: a small body that unpacks to
 * gigabytes is refused when it passes them. Throws `not-supported` for another encoding, `bad-request` for broken data.
 */
export async function unpackBody(body: Buffer, encoding: string, limits: BodyLimits): Promise<Buffer> {
  const stream = unpacker(encoding);
  if (stream === null) return body;
  const sink = new ChunkSink(limits);
  stream.end(body);
  try {
    for await (const chunk of stream) sink.push(chunk as Buffer);
  } catch (error) {
    if (error instanceof WarmlaneError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new WarmlaneError('bad-request', `the body is not valid ${encoding}: ${reason}`);
  } finally {
    stream.destroy();
  }
  return sink.result();
}

function unpacker(encoding: string) {
  switch (encoding.trim().toLowerCase()) {
    case '':
    case 'identity':
      return null;
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    default:
      throw new WarmlaneError(
        'not-supported',
        `content-encoding '${encoding}' is not supported`,
        `Send the body plain or as ${REQUEST_ENCODINGS}.`,
      );
  }
}
