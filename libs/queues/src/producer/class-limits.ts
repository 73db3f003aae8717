import { WarmlaneError } from '@warmlane/contracts';

/** How much may wait for one shape class (or for a model's cold queue) before requests are refused. */
export interface ClassLimit {
  /** Jobs that wait in its queue, of all producers together. */
  jobs: number;
  /** Input bytes of this producer's requests in flight. */
  bytes: number;
}

export const CLASS_LIMIT: ClassLimit = { jobs: 5_000, bytes: 512 * 2 ** 20 };

/** What the limits need of a queue. */
export interface CountedQueue {
  readonly name: string;
  getJobCountByTypes(...types: ('wait' | 'prioritized')[]): Promise<number>;
}

interface Load {
  /** Requests of this producer in flight, and their input bytes. */
  open: number;
  bytes: number;
  /** Jobs of all producers that waited at the last look. */
  waiting: number;
  /** Jobs of this producer that were added since then. */
  added: number;
  lookedAt: number;
  looking: boolean;
}

/** Own adds are counted exactly; those of other producers are seen with the next look. */
const LOOK_EVERY_MS = 500;
/** Two leave for one that comes. */
const TIDIED_AT_ONCE = 2;
/** Past half of the limit the looks come closer, so that a queue that drains is used again at once. */
const LOOK_EVERY_NEAR_MS = 50;

/** Keeps one class from filling Redis and from taking requests that would only wait for their deadline. */
export class ClassLimits {
  readonly #loads = new Map<string, Load>();

  constructor(
    private readonly limit: ClassLimit,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /**
   * Takes a request into account; call the result once when it is over. Throws `overloaded` where it would go over a
   * limit; a request without another one in flight is taken whatever its size.
   */
  admit(queue: CountedQueue, bytes: number): () => void {
    const load = this.#of(queue.name);
    this.#age(load);
    const waiting = load.waiting + load.added;
    this.#look(queue, load, waiting);
    if (waiting >= this.limit.jobs) {
      this.#forget(queue.name, load);
      throw overloaded(`${waiting} requests wait for this shape already, at most ${this.limit.jobs} may`);
    }
    if (load.open > 0 && load.bytes + bytes > this.limit.bytes) {
      const all = `${load.bytes} bytes of inputs in flight for this shape and ${bytes} more`;
      throw overloaded(`${all} are over the limit of ${this.limit.bytes}`);
    }
    load.open += 1;
    load.added += 1;
    load.bytes += bytes;
    return () => {
      load.open -= 1;
      load.bytes -= bytes;
      this.#forget(queue.name, load);
    };
  }

  /** Queues that are kept in mind; for tests of what is forgotten. */
  get size(): number {
    return this.#loads.size;
  }

  #of(name: string): Load {
    const known = this.#loads.get(name);
    if (known !== undefined) return known;
    this.#tidy();
    const fresh = { open: 0, bytes: 0, waiting: 0, added: 0, lookedAt: Number.NEGATIVE_INFINITY, looking: false };
    this.#loads.set(name, fresh);
    return fresh;
  }

  /** What waited half a second ago says nothing: until the look that comes now only what this producer has open is known. */
  #age(load: Load): void {
    if (load.looking || this.now() - load.lookedAt <= LOOK_EVERY_MS) return;
    load.waiting = 0;
    load.added = load.open;
  }

  /** There are as many classes as shapes: one that nobody uses is kept no longer than what its last look says. */
  #forget(name: string, load: Load): void {
    if (this.#isIdle(load)) this.#loads.delete(name);
  }

  #isIdle(load: Load): boolean {
    if (load.open > 0 || load.looking || load.waiting >= this.limit.jobs) return false;
    return this.now() - load.lookedAt >= LOOK_EVERY_MS;
  }

  /** For each class that comes the oldest ones are looked at: those in use stay, at the end. */
  #tidy(): void {
    let left = TIDIED_AT_ONCE;
    for (const [name, load] of this.#loads) {
      if (left === 0) return;
      left -= 1;
      this.#loads.delete(name);
      if (!this.#isIdle(load)) this.#loads.set(name, load);
    }
  }

  #look(queue: CountedQueue, load: Load, waiting: number): void {
    const every = waiting * 2 > this.limit.jobs ? LOOK_EVERY_NEAR_MS : LOOK_EVERY_MS;
    if (load.looking || this.now() - load.lookedAt < every) return;
    load.looking = true;
    load.lookedAt = this.now();
    const addedBefore = load.added;
    queue
      .getJobCountByTypes('wait', 'prioritized')
      .then(
        (count) => {
          load.waiting = count;
          // Those added while it was under way may be counted twice until the next look.
          load.added -= addedBefore;
        },
        () => undefined,
      )
      .finally(() => {
        load.looking = false;
        this.#forget(queue.name, load);
      });
  }
}

function overloaded(message: string): WarmlaneError {
  return new WarmlaneError(
    'overloaded',
    message,
    'Send the request again in a second; replicas of the lane or more workers answer more of them.',
  );
}
