import { LRUCache } from 'lru-cache';

/** Tensors that were made a moment ago, by a key, in at most `maxBytes`. */
export class TensorCache<T extends object> {
  private readonly cache: LRUCache<string, T>;

  /** @param bytesOf bytes of the tensors of a value */
  constructor(maxBytes: number, ttlMs: number, bytesOf: (value: T) => number) {
    this.cache = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (value) => Math.max(1, bytesOf(value)),
      ttl: ttlMs,
      ttlAutopurge: true,
      updateAgeOnGet: true,
    });
  }

  /** What is there, or what `make` gives, which is kept. Rejects with what `make` rejects with. */
  async get(key: string, make: () => Promise<T>): Promise<T> {
    const known = this.cache.get(key);
    if (known !== undefined) return known;
    const made = await make();
    this.cache.set(key, made);
    return made;
  }
}
