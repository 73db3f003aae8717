import { statfsSync } from 'node:fs';
import { SLOT_LEAST_BYTES, type SlotRef } from '@warmlane/contracts';
import { OwnerFolder, readNonce } from './owner-folder.js';
import { SlotPool } from './slot-pool.js';
import { SlotReader } from './slot-reader.js';
import { sweep, TOUCH_MS } from './sweep.js';

/** A pool takes at most this share of its tmpfs ... */
const SHARE = 0.25;
/** ... and at most this. */
const MOST_BYTES = 2 ** 30;
const SWEEP_MS = 60_000;
/** What could be proven of another process is asked again after this. */
const PROOF_MS = 5_000;
const PROOFS_KEPT = 1_000;

export interface SharedMemoryOptions {
  /** The tmpfs. */
  dir: string;
  /** Most bytes of the pool; null: a quarter of the tmpfs, 1 GiB at most. 0: no shared memory. */
  limitBytes: number | null;
  /** That many processes share the limit evenly: the worker and the runtime of one device. Default 1. */
  sharers?: number;
  /** The process with whose end this one's slots end; left out: this one itself, and it sweeps what dead ones left. */
  keeperPid?: number;
  log?: { warn(details: object, message: string): void };
}

/** A worker writes what came through Redis, its runtime what it computed: one limit for both. */
export const SHARERS_PER_DEVICE = 2;

interface Home {
  folder: OwnerFolder;
  pool: SlotPool;
}

/**
 * Shared memory as one process has it: a pool of slots that it writes, a reader of those of others, and the proof that
 * another process has the same. Without a usable tmpfs every `put` answers null, and the tensor goes another way.
 */
export class SharedMemory {
  readonly reader: SlotReader;
  readonly #options: SharedMemoryOptions;
  readonly #proofs = new Map<string, { nonce: string | null; at: number }>();
  readonly #timers: NodeJS.Timeout[] = [];
  #home: Home | null = null;
  #warnedAt = Number.NEGATIVE_INFINITY;
  #refused = 0;

  constructor(options: SharedMemoryOptions) {
    this.#options = options;
    this.reader = new SlotReader(options.dir);
    if (options.limitBytes === 0) return;
    this.#sweep();
    this.#open();
    this.#timers.push(
      setInterval(() => this.#touch(), TOUCH_MS),
      setInterval(() => this.#sweep(), SWEEP_MS),
    );
    for (const timer of this.#timers) timer.unref();
  }

  /** Name of this process's folder; null while there is none. */
  get owner(): string | null {
    return this.#home?.folder.owner ?? null;
  }

  /** What others must know to have proven that they can read this process's slots; null while there are none. */
  get nonce(): string | null {
    return this.#home?.folder.nonce ?? null;
  }

  /** Bytes that the pool holds, free slots included. */
  get bytes(): number {
    return this.#home?.pool.bytes ?? 0;
  }

  /** Uses that are not over. */
  get inUse(): number {
    return this.#home?.pool.inUse ?? 0;
  }

  /** Tensors that found no room. */
  get refused(): number {
    return this.#refused;
  }

  /** Writes a large tensor's bytes into a slot for `ttlMs`; null for a small one, and where there is no room. */
  async put(data: Uint8Array, ttlMs: number): Promise<SlotRef | null> {
    if (data.byteLength < SLOT_LEAST_BYTES || this.#home === null) return null;
    return this.#noted(await this.#home.pool.put(data, ttlMs));
  }

  /** The same on this thread. */
  putNow(data: Uint8Array, ttlMs: number): SlotRef | null {
    if (data.byteLength < SLOT_LEAST_BYTES || this.#home === null) return null;
    return this.#noted(this.#home.pool.putNow(data, ttlMs));
  }

  /** A use of this process's pool is over. */
  free(ref: SlotRef): void {
    this.#home?.pool.free(ref);
  }

  /** The nonce of another process, which proves to it that this one reads its slots; null where it does not. */
  proofFor(owner: string): string | null {
    const now = performance.now();
    const known = this.#proofs.get(owner);
    if (known !== undefined && now - known.at < PROOF_MS) return known.nonce;
    const nonce = this.#options.limitBytes === 0 ? null : readNonce(this.#options.dir, owner);
    if (this.#proofs.size >= PROOFS_KEPT) this.#proofs.clear();
    this.#proofs.set(owner, { nonce, at: now });
    return nonce;
  }

  /** Deletes this process's slots. Idempotent. */
  close(): void {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    const home = this.#home;
    this.#home = null;
    home?.pool.close();
    home?.folder.remove();
  }

  #open(): void {
    const { dir, limitBytes, sharers = 1, keeperPid } = this.#options;
    try {
      const folder = OwnerFolder.make(dir, keeperPid ?? null);
      const pool = new SlotPool({
        root: folder.root,
        owner: folder.owner,
        limitBytes: Math.floor((limitBytes ?? shareOf(dir)) / sharers),
        onFull: (error) => this.#warn(error),
      });
      this.#home = { folder, pool };
    } catch (error) {
      this.#warn(error);
    }
  }

  /** A folder that somebody deleted, or that could not be made, is made again. */
  #touch(): void {
    if (this.#home?.folder.touch() === true) return;
    this.#home?.pool.close();
    this.#home = null;
    this.#open();
  }

  #sweep(): void {
    if (this.#options.keeperPid === undefined) sweep(this.#options.dir);
  }

  #noted(ref: SlotRef | null): SlotRef | null {
    if (ref === null) {
      this.#refused += 1;
      this.#warn(null);
    }
    return ref;
  }

  /** Once a minute: under load every tensor would say so. */
  #warn(error: unknown): void {
    const now = performance.now();
    if (now - this.#warnedAt < SWEEP_MS) return;
    this.#warnedAt = now;
    this.#options.log?.warn(
      { dir: this.#options.dir, error: error === null ? 'the pool is full' : String(error), bytes: this.bytes },
      'no shared memory for a large tensor: it goes through Redis or a pipe, which is slower; see WARMLANE_SHM_DIR and WARMLANE_SHM_LIMIT',
    );
  }
}

function shareOf(dir: string): number {
  const { bsize, blocks } = statfsSync(dir);
  return Math.min(MOST_BYTES, Math.floor(bsize * blocks * SHARE));
}
