/** A slot of a pool: its file, open. */
export interface Slot {
  readonly number: number;
  readonly room: number;
  readonly file: string;
  readonly descriptor: number;
  /** Null while it is free. */
  use: { token: string; bytes: Buffer; expiresAt: number } | null;
  /** A pool thread writes it: its descriptor stays open until then. */
  writing: boolean;
}

/**
 * Which slots a pool has: the free ones by their room, those in use by their age. Every question that a tensor asks costs
 * the same with one slot and with thousands.
 */
export class SlotBook {
  readonly #all = new Map<number, Slot>();
  readonly #free = new Map<number, Slot[]>();
  /** The oldest use first. */
  readonly #used = new Set<Slot>();
  #bytes = 0;
  #round = this.#used.values();

  /** Room of all slots, free ones included. */
  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#all.size;
  }

  get inUse(): number {
    return this.#used.size;
  }

  all(): Slot[] {
    return [...this.#all.values()];
  }

  has(slot: Slot): boolean {
    return this.#all.has(slot.number);
  }

  /** A slot that was just made, for its first use. */
  add(slot: Slot): void {
    this.#all.set(slot.number, slot);
    this.#bytes += slot.room;
    this.#used.add(slot);
  }

  /** A free slot of exactly this room, from now on in use: the one that was used last, whose pages are the likeliest in a cache. */
  take(room: number): Slot | null {
    const slot = this.#free.get(room)?.pop();
    if (slot === undefined) return null;
    this.#used.add(slot);
    return slot;
  }

  /** Ends the use with this token. Without effect where it is over. */
  free(number: number, token: string): void {
    const slot = this.#all.get(number);
    if (slot === undefined || slot.use?.token !== token) return;
    slot.use = null;
    this.#used.delete(slot);
    const free = this.#free.get(slot.room);
    if (free === undefined) this.#free.set(slot.room, [slot]);
    else free.push(slot);
  }

  /** The next so many uses, from the oldest to the newest and then again from the oldest. */
  *look(most: number): Generator<Slot> {
    for (let left = Math.min(most, this.#used.size); left > 0; left -= 1) {
      let next = this.#round.next();
      if (next.done === true) {
        this.#round = this.#used.values();
        next = this.#round.next();
      }
      if (next.done === true) return;
      yield next.value;
    }
  }

  /** A free slot of the largest room there is; null where all are in use. */
  largestFree(): Slot | null {
    let largest: Slot[] = [];
    for (const slots of this.#free.values()) {
      if (slots.length > 0 && (slots[0]?.room ?? 0) > (largest[0]?.room ?? 0)) largest = slots;
    }
    return largest[0] ?? null;
  }

  /** @returns false where it is not there any more */
  drop(slot: Slot): boolean {
    if (!this.#all.delete(slot.number)) return false;
    this.#bytes -= slot.room;
    this.#used.delete(slot);
    const free = this.#free.get(slot.room);
    const at = free?.indexOf(slot) ?? -1;
    if (at >= 0) free?.splice(at, 1);
    return true;
  }
}
