import { exactClasses, paddedClasses, type ServedClass, type TensorSpec } from '@warmlane/contracts';
import { classQueueName } from '@warmlane/redis';
import type { ServableModel } from './model-cache.js';
import type { Route, RouteTable } from './route-table.js';

/** Where a request goes. */
export interface Choice {
  route: Route;
  /** The class that serves it; null: the model's cold queue does. */
  served: ServedClass | null;
}

/** Larger shapes to which one request may be padded are looked at up to this many, the smallest first. */
const MOST_PADDED = 16;

/** Finds the class for a request: of its own shape, else the smallest proven one to which it may be padded, else none. */
export class RouteChoice {
  constructor(private readonly routes: RouteTable) {}

  /** The choice at once where the route to the best class is known, else the promise of it. */
  choose(model: ServableModel, key: string, inputs: readonly TensorSpec[]): Choice | Promise<Choice> {
    const exact = exactClasses(model.rules, key, inputs);
    const [best] = exact;
    const route = best === undefined ? null : this.#routeTo(model, best);
    if (route !== null && !(route instanceof Promise) && !route.cold) return { route, served: best ?? null };
    return this.#search(model, [...exact, ...paddedClasses(model.rules, inputs).slice(0, MOST_PADDED)]);
  }

  /** For a queue that was chosen before: the class that it belongs to. */
  async pinned(model: ServableModel, key: string, inputs: readonly TensorSpec[], queue: string): Promise<Choice> {
    const all = [...exactClasses(model.rules, key, inputs), ...paddedClasses(model.rules, inputs)];
    const served = all.find((one) => classQueueName(model.name, model.version, one.shapeClass) === queue) ?? null;
    return { route: await this.routes.pinned(queue), served };
  }

  async #search(model: ServableModel, classes: readonly ServedClass[]): Promise<Choice> {
    const looked = await Promise.all(classes.map(async (one) => await this.#routeTo(model, one)));
    const found = looked.findIndex((route) => !route.cold);
    const route = looked[Math.max(0, found)];
    if (route === undefined) throw new Error('a request has the class of its own shape at least');
    return { route, served: classes[found] ?? null };
  }

  #routeTo(model: ServableModel, { shapeClass, padded }: ServedClass): Route | Promise<Route> {
    return this.routes.route(model.name, model.version, shapeClass, padded ? (model.rules.pad?.digest ?? null) : null);
  }
}
