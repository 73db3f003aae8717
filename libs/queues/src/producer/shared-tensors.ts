import type { AnswerHead, SlotRef, TensorSpec } from '@warmlane/contracts';
import { HeldSlot, HeldTensor, HostPeers, type SharedMemory } from '@warmlane/shm';
import type { Route } from './route-table.js';

/** After its deadline a request's job may still be about to read its inputs. */
export const SLOT_MARGIN_MS = 10_000;

/** How a large tensor went. */
export interface TensorWay {
  way: 'memory' | 'redis';
  direction: 'in' | 'out';
}

/** Shared memory as a producer uses it: with workers that have proven that they read it, for requests that end with it. */
export class SharedTensors {
  readonly #peers: HostPeers;

  constructor(private readonly memory: SharedMemory) {
    this.#peers = new HostPeers(() => memory.nonce);
  }

  /** What a job says, so that its worker may answer through slots; null while there is no shared memory here. */
  get owner(): string | null {
    return this.memory.owner;
  }

  /** Whether every worker that may take a job of this route reads slots of this process. */
  reaches(route: Route): boolean {
    return this.#peers.include(route.workers);
  }

  /** Null where it has no room, or is not worth it. */
  put(data: Uint8Array, leftMs: number): Promise<SlotRef | null> {
    return this.memory.put(data, leftMs + SLOT_MARGIN_MS);
  }

  /** The request was answered: nobody reads its inputs any more, but for a second run that answers nobody. */
  free(refs: readonly SlotRef[]): void {
    for (const ref of refs) this.memory.free(ref);
  }

  answered(head: AnswerHead): void {
    if (head.ok) this.#peers.answered(head.worker, head.proof);
  }

  /** Nobody will read this answer: its worker has the slots of its outputs back. */
  discard(head: AnswerHead): void {
    if (!head.ok) return;
    for (const { slot } of head.outputs) if (slot !== undefined) this.memory.reader.free(slot);
  }

  /** A worker could not read a slot: it runs elsewhere, or the folder was deleted. */
  distrust(): void {
    this.#peers.distrust();
  }

  /** The bytes of an output, which is freed. Rejects with `tensor-gone`. */
  async take(ref: SlotRef): Promise<Buffer> {
    const data = await this.memory.reader.read(ref);
    this.memory.reader.free(ref);
    return data;
  }

  /** An output whose bytes stay where they are until it is freed. Throws `tensor-gone`. */
  hold(output: TensorSpec, ref: SlotRef): HeldTensor {
    return new HeldTensor(output, new HeldSlot(ref, this.memory.reader));
  }
}
