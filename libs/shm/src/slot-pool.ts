import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readSync, unlinkSync, write, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import type { SlotRef } from '@warmlane/contracts';
import { mostSlots } from './most-slots.js';
import { type Slot, SlotBook } from './slot-book.js';
import { FREED_AT, HEADER_BYTES, headerOf, sizeClassOf, slotFile, TOKEN_BYTES } from './slot-layout.js';

const writeAsync = promisify(write);

/** Up to this a copy into a kept slot takes about 0.2 ms (a tenth of what was measured for 10 MB: 1.1 to 2.1): a trip to a thread takes longer. */
const AT_ONCE_BYTES = 2 ** 20;
/** A new slot is 10 times as slow. */
const NEW_AT_ONCE_BYTES = 128 * 1024;
/**
 * Uses whose marks are looked at where no slot is free. Looking at all of them took 2.3 ms with 443 in use, on the event loop
 * and for each tensor that found no room; 16 take 0.08 ms, and the next tensor looks at the next ones.
 */
const LOOKS = 16;
/** After the tmpfs was found full no new slot is tried for so long. */
const FULL_MS = 5_000;
const ZEROS = Buffer.alloc(2 ** 20);

/** A slot with the use that begins. */
interface Taken {
  slot: Slot;
  ref: SlotRef;
  header: Buffer;
  /** It was made for this use. */
  isNew: boolean;
}

export interface SlotPoolOptions {
  /** Folder of all folders, and the name of this process's own in it. */
  root: string;
  owner: string;
  /** Most bytes of all slots together. */
  limitBytes: number;
  /** Told why the tmpfs took no new slot. */
  onFull: (error: unknown) => void;
}

/**
 * The slots that one process writes. Each is a file that was written in full when it was made: a hole in it would be a
 * SIGBUS for whoever maps it once the tmpfs is full. Files are kept and written over, which is 3 to 12 times as fast as
 * new ones. A use ends by {@link free}, by its reader's mark in the header, or by its time.
 */
export class SlotPool {
  readonly #options: SlotPoolOptions;
  readonly #book = new SlotBook();
  readonly #mostSlots = mostSlots();
  readonly #mark = Buffer.alloc(TOKEN_BYTES);
  #next = 0;
  #fullUntil = 0;
  #closed = false;

  constructor(options: SlotPoolOptions) {
    this.#options = options;
  }

  /** Bytes of all slots, free ones included. */
  get bytes(): number {
    return this.#book.bytes + this.#book.size * HEADER_BYTES;
  }

  /** Uses that are not over. */
  get inUse(): number {
    return this.#book.inUse;
  }

  /** Writes the bytes into a slot, large ones on a pool thread; null where there is no room. */
  async put(data: Uint8Array, ttlMs: number): Promise<SlotRef | null> {
    const taken = this.#take(data, ttlMs);
    if (taken === null) return null;
    const { slot, ref, header, isNew } = taken;
    if (data.byteLength <= (isNew ? NEW_AT_ONCE_BYTES : AT_ONCE_BYTES)) return this.#writeNow(taken, data);
    slot.writing = true;
    try {
      await writeFully(slot.descriptor, header, 0);
      await writeFully(slot.descriptor, data, HEADER_BYTES);
      for (const [at, zeros] of isNew ? zerosOf(slot, data) : []) await writeFully(slot.descriptor, zeros, at);
      return this.#closed ? null : ref;
    } catch (error) {
      this.#refused(slot, error);
      return null;
    } finally {
      slot.writing = false;
      if (!this.#book.has(slot)) closeSync(slot.descriptor);
    }
  }

  /** The same on this thread. */
  putNow(data: Uint8Array, ttlMs: number): SlotRef | null {
    const taken = this.#take(data, ttlMs);
    return taken === null ? null : this.#writeNow(taken, data);
  }

  #writeNow({ slot, ref, header, isNew }: Taken, data: Uint8Array): SlotRef | null {
    try {
      writeFullyNow(slot.descriptor, header, 0);
      writeFullyNow(slot.descriptor, data, HEADER_BYTES);
      for (const [at, zeros] of isNew ? zerosOf(slot, data) : []) writeFullyNow(slot.descriptor, zeros, at);
      return ref;
    } catch (error) {
      this.#refused(slot, error);
      return null;
    }
  }

  /** The use is over: nobody reads it any more. Without effect where it was over. */
  free(ref: SlotRef): void {
    this.#book.free(ref.slot, ref.token);
  }

  /** Closes and deletes all slots. */
  close(): void {
    this.#closed = true;
    for (const slot of this.#book.all()) this.#drop(slot);
  }

  #take(data: Uint8Array, ttlMs: number): Taken | null {
    if (this.#closed) return null;
    const room = sizeClassOf(data.byteLength);
    const kept = this.#freeSlot(room);
    const slot = kept ?? this.#make(room);
    if (slot === null) return null;
    const token = randomBytes(TOKEN_BYTES);
    const use = { token: token.toString('hex'), bytes: token, expiresAt: performance.now() + ttlMs };
    slot.use = use;
    const ref = { owner: this.#options.owner, slot: slot.number, token: use.token, bytes: data.byteLength };
    return { slot, ref, header: headerOf(token, data.byteLength), isNew: kept === null };
  }

  #freeSlot(room: number): Slot | null {
    const free = this.#book.take(room);
    if (free !== null) return free;
    this.#reclaim();
    return this.#book.take(room);
  }

  /** Ends uses that their readers are done with, and those whose time is over. */
  #reclaim(): void {
    const now = performance.now();
    for (const slot of this.#book.look(LOOKS)) {
      if (slot.use === null || slot.writing) continue;
      if (slot.use.expiresAt <= now || this.#isMarked(slot.descriptor, slot.use.bytes)) {
        this.#book.free(slot.number, slot.use.token);
      }
    }
  }

  #isMarked(descriptor: number, token: Buffer): boolean {
    return readSync(descriptor, this.#mark, 0, TOKEN_BYTES, FREED_AT) === TOKEN_BYTES && this.#mark.equals(token);
  }

  #make(room: number): Slot | null {
    const { root, owner, limitBytes, onFull } = this.#options;
    const wanted = HEADER_BYTES + room;
    if (wanted > limitBytes || performance.now() < this.#fullUntil) return null;
    // Free slots of other sizes make room, the largest first.
    while (this.bytes + wanted > limitBytes || this.#book.size >= this.#mostSlots) {
      const largest = this.#book.largestFree();
      if (largest === null) return null;
      this.#drop(largest);
    }
    // A number is never used again: whoever maps a file that was deleted must not take another one for it.
    const number = this.#next++;
    const file = slotFile(root, owner, number);
    try {
      const descriptor = openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      const slot: Slot = { number, room, file, descriptor, use: null, writing: false };
      this.#book.add(slot);
      return slot;
    } catch (error) {
      onFull(error);
      return null;
    }
  }

  /** The tmpfs is full, or its files are gone. A slot that is not whole is worth nothing. */
  #refused(slot: Slot, error: unknown): void {
    this.#fullUntil = performance.now() + FULL_MS;
    this.#drop(slot);
    if (!this.#closed) this.#options.onFull(error);
  }

  #drop(slot: Slot): void {
    if (!this.#book.drop(slot)) return;
    try {
      unlinkSync(slot.file);
    } catch {
      // Somebody deleted the whole folder.
    }
    if (!slot.writing) closeSync(slot.descriptor);
  }
}

/** What of a new slot the data does not fill, in pieces: where and what. */
function* zerosOf(slot: Slot, data: Uint8Array): Generator<[number, Uint8Array]> {
  const end = HEADER_BYTES + slot.room;
  const used = Buffer.alloc(HEADER_BYTES - headerOf(Buffer.alloc(TOKEN_BYTES), 0).byteLength);
  yield [HEADER_BYTES - used.byteLength, used];
  for (let at = HEADER_BYTES + data.byteLength; at < end; at += ZEROS.byteLength) {
    yield [at, ZEROS.subarray(0, Math.min(ZEROS.byteLength, end - at))];
  }
}

async function writeFully(descriptor: number, data: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < data.byteLength; ) {
    const { bytesWritten } = await writeAsync(descriptor, data, at, data.byteLength - at, position + at);
    at += bytesWritten;
  }
}

function writeFullyNow(descriptor: number, data: Uint8Array, position: number): void {
  for (let at = 0; at < data.byteLength; ) {
    at += writeSync(descriptor, data, at, data.byteLength - at, position + at);
  }
}
