import type { ServerResponse } from 'node:http';
import { WarmlaneError } from '@warmlane/contracts';
import { HeldSlot } from '@warmlane/shm';

/** What an answer's body consists of: bytes that are here, and bytes that are read from shared memory as they are sent. */
export type BodyPart = Uint8Array | HeldSlot;

/** Small enough to stay in the processor's cache between its two copies, large enough that calls cost little. */
const PIECE_BYTES = 256 * 1024;
/** Pieces of one answer that are on their way into its socket. */
const AHEAD = 6;
/** Pieces kept for later answers, 16 MiB: a batch's answers come at once. New memory costs more than the copy into it. */
const KEPT = 64;
/**
 * Where in a page a piece begins. Slots begin at the start of one, and the kernel's copy to an address that is a few bytes
 * further in its page than the source takes 4 to 5 times as long, probably since each load waits for the store before it, whose low 12
 * bits are the same (10 MB: 5 against 1.1 ms, EPYC). Large allocations begin 16 bytes into a page.
 */
const APART_BYTES = 2048;

export interface SendOptions {
  /** A client that still takes its bytes after this does not keep a slot: what is left is copied first. Default 1 s. */
  patienceMs?: number;
}

export function bytesOfParts(parts: readonly BodyPart[]): number {
  return parts.reduce((sum, part) => sum + (part instanceof HeldSlot ? part.ref.bytes : part.byteLength), 0);
}

export function freeParts(parts: readonly BodyPart[]): void {
  for (const part of parts) if (part instanceof HeldSlot) part.free();
}

/**
 * Writes the body and ends the response; its headers are set, the content-length among them. Slots are copied piece by
 * piece and freed with their last piece: the socket itself never reads from one. Never rejects: where the client leaves or
 * a slot is gone the connection is cut.
 */
export async function sendParts(
  response: ServerResponse,
  parts: readonly BodyPart[],
  { patienceMs = 1_000 }: SendOptions = {},
): Promise<void> {
  const outlet = new Outlet(response, patienceMs);
  try {
    for (const part of parts) {
      if (part instanceof HeldSlot) await outlet.sendSlot(part);
      else await outlet.send(part);
    }
    response.end();
  } catch {
    response.destroy();
  } finally {
    outlet.close();
    freeParts(parts);
  }
}

const pieces: Buffer[] = [];

function newPiece(): Buffer {
  return Buffer.allocUnsafeSlow(PIECE_BYTES + 2 * APART_BYTES).subarray(APART_BYTES, APART_BYTES + PIECE_BYTES);
}

/** Pieces that hold so many bytes, with the part of each that they fill. */
function piecesFor(bytes: number): { piece: Buffer; part: Buffer }[] {
  return Array.from({ length: Math.ceil(bytes / PIECE_BYTES) }, (_, at) => {
    const piece = pieces.pop() ?? newPiece();
    return { piece, part: piece.subarray(0, Math.min(PIECE_BYTES, bytes - at * PIECE_BYTES)) };
  });
}

/** One response's socket, with a bounded number of writes under way. */
class Outlet {
  readonly #sent: Promise<void>[] = [];
  readonly #gone: Promise<never>;
  readonly #onClose: () => void;
  readonly #patientUntil: number;

  constructor(
    private readonly response: ServerResponse,
    patienceMs: number,
  ) {
    this.#patientUntil = performance.now() + patienceMs;
    let onClose = (): void => undefined;
    this.#gone = new Promise((_, reject) => {
      onClose = () => reject(clientGone());
    });
    this.#gone.catch(() => undefined);
    this.#onClose = onClose;
    if (response.destroyed) onClose();
    else response.once('close', onClose);
  }

  async send(data: Uint8Array): Promise<void> {
    await this.#room(null);
    this.#sent.push(this.#write(data));
  }

  async sendSlot(slot: HeldSlot): Promise<void> {
    const { bytes } = slot.ref;
    for (let at = 0; at < bytes; ) {
      if (!(await this.#room(this.#patientUntil))) {
        const rest = await slot.readFrom(at);
        slot.free();
        await this.send(rest);
        return;
      }
      const taken = piecesFor(Math.min(bytes - at, (AHEAD - this.#sent.length) * PIECE_BYTES));
      slot.readInto(
        taken.map(({ part }) => part),
        at,
      );
      for (const { piece, part } of taken) {
        at += part.byteLength;
        // A piece whose write failed is not used again: nobody knows who still reads it.
        this.#sent.push(this.#write(part, () => pieces.length < KEPT && pieces.push(piece)));
      }
    }
    slot.free();
  }

  close(): void {
    this.response.off('close', this.#onClose);
  }

  /** Waits until one more write may begin; false where that is not before `until`. Rejects once the client is gone. */
  async #room(until: number | null): Promise<boolean> {
    if (this.response.destroyed) throw clientGone();
    const [oldest] = this.#sent;
    if (this.#sent.length < AHEAD || oldest === undefined) return true;
    const free = Promise.race([oldest, this.#gone]).then(() => true);
    const room = await (until === null ? free : within(free, Math.max(0, until - performance.now())));
    if (room) void this.#sent.shift();
    return room;
  }

  #write(data: Uint8Array, onWritten: () => unknown = () => undefined): Promise<void> {
    const written = new Promise<void>((resolve, reject) => {
      this.response.write(data, (error) => {
        if (error !== null && error !== undefined) {
          reject(error);
          return;
        }
        onWritten();
        resolve();
      });
    });
    // Whoever waits for room meets it.
    written.catch(() => undefined);
    return written;
  }
}

async function within(work: Promise<boolean>, limitMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function clientGone(): WarmlaneError {
  return new WarmlaneError('canceled', 'the client left before its answer was written');
}
