import { type PadTarget, parseShapeClass } from '@warmlane/contracts';
import { type ClassStore, classQueueName, coldQueueName, type Holders, type Liveness } from '@warmlane/redis';
import { FreshTable } from './fresh.js';

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

/** Classes are as unbounded as shapes are. */
const MOST_ROUTES = 10_000;
const MOST_VERSIONS = 1_000;

/** Which queue serves a shape class now, and to which classes a model's requests may be padded. */
export class RouteTable {
  readonly #routes = new FreshTable<Route>(MOST_ROUTES);
  readonly #targets = new FreshTable<PadTarget[]>(MOST_VERSIONS);

  constructor(
    private readonly holders: Holders,
    private readonly liveness: Liveness,
    private readonly classes: ClassStore,
  ) {}

  /** The route at once where it is known, else the promise of it. */
  route(model: string, version: string, shapeClass: string): Route | Promise<Route> {
    return this.#routes.get(`${model}/${version}/${shapeClass}`, () => this.#look(model, version, shapeClass));
  }

  /** The classes for whose shapes a lane has proven padding by these rules. */
  padTargets(model: string, version: string, rules: string): PadTarget[] | Promise<PadTarget[]> {
    return this.#targets.get(`${model}/${version}/${rules}`, async () => {
      const paddings = await this.classes.paddings(model, version);
      return Object.entries(paddings).flatMap(([shapeClass, proven]) =>
        proven === rules ? [{ shapeClass, inputs: parseShapeClass(shapeClass) }] : [],
      );
    });
  }

  /** The route to a queue that was chosen before. */
  async pinned(queue: string): Promise<Route> {
    const live = await this.liveness.live();
    return { queue, cold: false, live, workers: [...live.keys()] };
  }

  /** A lane or a worker changed: look again at the next request. */
  forget(): void {
    this.#routes.forget();
    this.#targets.forget();
  }

  async #look(model: string, version: string, shapeClass: string): Promise<Route> {
    const [holders, live] = await Promise.all([this.holders.of(model, version, shapeClass), this.liveness.live()]);
    const cold = holders.length === 0;
    const queue = cold ? coldQueueName(model, version) : classQueueName(model, version, shapeClass);
    const workers = cold ? [...live.keys()] : holders.map(workerOf);
    return { queue, cold, live, workers };
  }
}

/** The worker of a holder `worker:epoch`. */
function workerOf(holder: string): string {
  return holder.slice(0, holder.lastIndexOf(':'));
}
