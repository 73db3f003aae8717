import { type ClassStore, classQueueName, coldQueueName, type Holders, type Liveness } from '@warmlane/redis';

/** Where a request of one class goes, and which workers were live when that was decided. */
export interface Route {
  queue: string;
  /** True: no live worker holds a READY lane of the class; the model's cold queue serves it. */
  cold: boolean;
  /** Live workers by epoch. A holder that is missing here later, or has another epoch, died since. */
  live: ReadonlyMap<string, number>;
  /** Who may take a job of it: the holders of the class, or any worker. */
  workers: readonly string[];
}

/** A route is used without a look for this long ... */
const FRESH_MS = 100;
/** ... and up to this age while the next look is under way, so that a steady stream of requests never waits for one. */
const USABLE_MS = 200;
/** Classes are as unbounded as shapes are; past this many the table starts anew. */
const MAX_ROUTES = 10_000;

interface Wanted {
  model: string;
  version: string;
  shapeClass: string;
  padding: string | null;
}

interface Entry {
  route: Route | null;
  at: number;
  looking: Promise<Route> | null;
}

/** Which queue serves a shape class now. Costs a round trip only when the last look is older than 200 ms. */
export class RouteTable {
  readonly #entries = new Map<string, Entry>();
  #validFrom = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly holders: Holders,
    private readonly liveness: Liveness,
    private readonly classes: ClassStore,
  ) {}

  /**
   * The route at once where it is known, else the promise of it.
   *
   * @param padding the rules by which the request would be padded to the class: it is cold while no lane has proven them
   */
  route(model: string, version: string, shapeClass: string, padding: string | null): Route | Promise<Route> {
    const id = `${model}/${version}/${shapeClass}/${padding ?? ''}`;
    const entry = this.#entry(id);
    const age = entry.at < this.#validFrom ? Number.POSITIVE_INFINITY : performance.now() - entry.at;
    if (entry.route !== null && age < FRESH_MS) return entry.route;
    entry.looking ??= this.#look(entry, { model, version, shapeClass, padding });
    if (entry.route === null || age >= USABLE_MS) return entry.looking;
    // Its failure is met by the first request that has to wait for it.
    entry.looking.catch(() => undefined);
    return entry.route;
  }

  /** The route to a queue that was chosen before. */
  async pinned(queue: string): Promise<Route> {
    const live = await this.liveness.live();
    return { queue, cold: false, live, workers: [...live.keys()] };
  }

  /** A lane or a worker changed: look again at the next request. */
  forget(): void {
    this.#validFrom = performance.now();
  }

  #entry(id: string): Entry {
    const known = this.#entries.get(id);
    if (known !== undefined) return known;
    if (this.#entries.size >= MAX_ROUTES) this.#entries.clear();
    const entry: Entry = { route: null, at: Number.NEGATIVE_INFINITY, looking: null };
    this.#entries.set(id, entry);
    return entry;
  }

  async #look(entry: Entry, { model, version, shapeClass, padding }: Wanted): Promise<Route> {
    const startedAt = performance.now();
    try {
      const [holders, live, proven] = await Promise.all([
        this.holders.of(model, version, shapeClass),
        this.liveness.live(),
        padding === null ? null : this.classes.padding(model, version, shapeClass),
      ]);
      const cold = holders.length === 0 || proven !== padding;
      const queue = cold ? coldQueueName(model, version) : classQueueName(model, version, shapeClass);
      const workers = cold ? [...live.keys()] : holders.map(workerOf);
      entry.route = { queue, cold, live, workers };
      entry.at = startedAt;
      return entry.route;
    } finally {
      entry.looking = null;
    }
  }
}

/** The worker of a holder `worker:epoch`. */
function workerOf(holder: string): string {
  return holder.slice(0, holder.lastIndexOf(':'));
}
