/** A value is used without a look for this long ... */
const FRESH_MS = 100;
/** ... and up to this age while the next look is under way, so that a steady stream of requests never waits for one. */
const USABLE_MS = 200;

/** Something in Redis as it was at the last look. */
class Entry<T> {
  value: { is: T; at: number } | null = null;
  looking: Promise<T> | null = null;
}

/** What was looked up in Redis lately, by name. Costs a round trip only when the last look is older than 200 ms. */
export class FreshTable<T> {
  readonly #entries = new Map<string, Entry<T>>();
  #validFrom = Number.NEGATIVE_INFINITY;

  /** @param most names; past it the table starts anew */
  constructor(private readonly most: number) {}

  /** The value at once where it is known, else the promise of it. */
  get(name: string, look: () => Promise<T>): T | Promise<T> {
    const entry = this.#entry(name);
    const { value } = entry;
    const age = value === null || value.at < this.#validFrom ? Number.POSITIVE_INFINITY : performance.now() - value.at;
    if (value !== null && age < FRESH_MS) return value.is;
    entry.looking ??= this.#look(entry, look);
    if (value === null || age >= USABLE_MS) return entry.looking;
    // Its failure is met by the first request that has to wait for it.
    entry.looking.catch(() => undefined);
    return value.is;
  }

  /** What was looked up so far is no longer used. */
  forget(): void {
    this.#validFrom = performance.now();
  }

  #entry(name: string): Entry<T> {
    const known = this.#entries.get(name);
    if (known !== undefined) return known;
    if (this.#entries.size >= this.most) this.#entries.clear();
    const entry = new Entry<T>();
    this.#entries.set(name, entry);
    return entry;
  }

  async #look(entry: Entry<T>, look: () => Promise<T>): Promise<T> {
    const at = performance.now();
    try {
      const is = await look();
      entry.value = { is, at };
      return is;
    } finally {
      entry.looking = null;
    }
  }
}
