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

/** Larger shapes to which one request may be padded are looked at so many at a time, the smallest first. */
const PADDED_AT_ONCE = 16;

/** Finds the class for a request: of its own shape, else the smallest proven one to which it may be padded, else none. */
export class RouteChoice {
  constructor(private readonly routes: RouteTable) {}

  /** The choice at once where the route to the best class is known, else the promise of it. */
  choose(model: ServableModel, key: string, inputs: readonly TensorSpec[]): Choice | Promise<Choice> {
    const exact = exactClasses(model.rules, key, inputs);
    const [best] = exact;
    const route = best === undefined ? null : this.#routeTo(model, best);
    if (route !== null && !(route instanceof Promise) && !route.cold) return { route, served: best ?? null };
    return this.#search(model, exact, inputs);
  }

  /** For a queue that was chosen before: the class that it belongs to. */
  async pinned(model: ServableModel, key: string, inputs: readonly TensorSpec[], queue: string): Promise<Choice> {
    const all = [...exactClasses(model.rules, key, inputs), ...(await this.#padded(model, inputs))];
    const served = all.find((one) => classQueueName(model.name, model.version, one.shapeClass) === queue) ?? null;
    return { route: await this.routes.pinned(queue), served };
  }

  async #search(model: ServableModel, exact: readonly ServedClass[], inputs: readonly TensorSpec[]): Promise<Choice> {
    const padding = this.#padded(model, inputs);
    // Not awaited where its own shape is served; else its failure is met below.
    padding.catch(() => undefined);
    let coldRoute: Route | null = null;
    for (let classes = exact; ; ) {
      const looked = await Promise.all(classes.map(async (one) => await this.#routeTo(model, one)));
      const found = looked.findIndex((route) => !route.cold);
      const route = looked[found];
      if (route !== undefined) return { route, served: classes[found] ?? null };
      coldRoute ??= looked[0] ?? null;
      if (coldRoute === null) throw new Error('a request has the class of its own shape at least');
      classes = (await padding).splice(0, PADDED_AT_ONCE);
      if (classes.length === 0) return { route: coldRoute, served: null };
    }
  }

  async #padded(model: ServableModel, inputs: readonly TensorSpec[]): Promise<ServedClass[]> {
    const { rules, name, version } = model;
    if (rules.pad === null) return [];
    return paddedClasses(rules, inputs, await this.routes.padTargets(name, version, rules.pad.digest));
  }

  #routeTo(model: ServableModel, { shapeClass }: ServedClass): Route | Promise<Route> {
    return this.routes.route(model.name, model.version, shapeClass);
  }
}
