import { createQueue, type QueueOptions, type TypedQueue } from './queue.factory.js';

/**
 * Queue objects by name, least recently used out first. A Queue costs 8 kB and one write of its settings at creation, so
 * one per request would double the round trips; classes are unbounded, so neither are all kept.
 */
export class QueueCache<Data> {
  readonly #queues = new Map<string, TypedQueue<Data>>();
  #closed = false;

  constructor(
    private readonly options: QueueOptions,
    private readonly limit = 1_000,
  ) {}

  get(name: string): TypedQueue<Data> {
    const known = this.#queues.get(name);
    if (known !== undefined) {
      // A Map keeps insertion order: moved to the end, the first is always the one unused for longest.
      this.#queues.delete(name);
      this.#queues.set(name, known);
      return known;
    }
    const queue = createQueue<Data>(name, this.options);
    this.#queues.set(name, queue);
    if (this.#queues.size > this.limit) this.#dropOldest();
    return queue;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all(Array.from(this.#queues.values(), (queue) => queue.close()));
    this.#queues.clear();
  }

  #dropOldest(): void {
    for (const [name, queue] of this.#queues) {
      this.#queues.delete(name);
      // The connection is shared: closing only takes the listeners off. Adds in flight keep their reference.
      queue
        .close()
        .catch((error: unknown) => queue.emit('error', error instanceof Error ? error : new Error(String(error))));
      return;
    }
  }
}
