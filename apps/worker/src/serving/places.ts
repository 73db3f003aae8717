import { createHash } from 'node:crypto';
import {
  type BatchAxes,
  type ClassJob,
  exactClasses,
  itemsOf,
  type NamedTensor,
  type ServedClass,
  type ServingRules,
  servingRulesOf,
} from '@warmlane/contracts';
import type { HeldModel } from '../ports.js';
import { classKey } from './lane-index.js';

/** Where a request is served. */
export interface Place {
  /** See `classKey`. */
  key: string;
  padded: boolean;
  /** Where its items lie; null: it is one item. */
  axes: BatchAxes | null;
  items: number;
  shared: string;
}

/** Finds the lanes that can serve a request, whichever queue it came through. */
export class Places {
  readonly #rules = new Map<string, ServingRules>();

  hold(model: HeldModel): void {
    this.#rules.set(nameOf(model), servingRulesOf(model.metadata, model.config));
  }

  drop(model: HeldModel): void {
    this.#rules.delete(nameOf({ ...model, model: model.name }));
  }

  /**
   * The class that its producer chose, else those of its own shape, as far as lanes serve them; null: only the fallback
   * can.
   */
  find(
    request: ClassJob,
    inputs: readonly NamedTensor[],
    serves: (key: string, padded: boolean) => boolean,
  ): Place | null {
    const { model, version, shapeKey, shapeClass, padded = false } = request;
    const rules = this.#rules.get(nameOf(request));
    const at = (one: ServedClass): Place | null => {
      const key = classKey({ model, version, class: one.shapeClass });
      if (!serves(key, one.padded)) return null;
      // The class that is one exact shape is served whole.
      const batched = rules !== undefined && isBatchClass(one.shapeClass);
      const axes = batched ? rules.batch : null;
      return {
        key,
        padded: one.padded,
        axes,
        items: axes === null || rules === undefined ? 1 : itemsOf(rules, inputs),
        shared: axes === null ? '' : sharedOf(axes, inputs),
      };
    };
    const chosen = shapeClass === undefined ? null : at({ shapeClass, padded });
    if (chosen !== null) return chosen;
    const exact =
      rules === undefined ? [{ shapeClass: shapeKey, padded: false }] : exactClasses(rules, shapeKey, inputs);
    for (const one of exact) {
      const place = at(one);
      if (place !== null) return place;
    }
    return null;
  }

  /** Items of a request, for statistics; 1 where the model has no batch axis. */
  itemsOf(request: ClassJob, inputs: readonly NamedTensor[]): number {
    const rules = this.#rules.get(nameOf(request));
    return rules === undefined ? 1 : itemsOf(rules, inputs);
  }
}

/** A dimension written `b`. */
function isBatchClass(shapeClass: string): boolean {
  return /[[,]b[\],]/.test(shapeClass);
}

/** Inputs without a batch axis are the same for all items of a run. */
function sharedOf(axes: BatchAxes, inputs: readonly NamedTensor[]): string {
  const shared = inputs.filter((input) => axes.inputs[input.name] === undefined);
  if (shared.length === 0) return '';
  const hash = createHash('sha256');
  for (const { name, dims, data } of shared) hash.update(`${name}[${dims.join(',')}]\n`).update(data);
  return hash.digest('base64');
}

function nameOf(of: { name: string; version: string } | { model: string; version: string }): string {
  return `${'model' in of ? of.model : of.name}/${of.version}`;
}
