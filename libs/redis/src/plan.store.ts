import { createHash } from 'node:crypto';
import type { PlanEntry } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { keys, NOTICES_CHANNEL } from './keys.js';
import { encodeNotice } from './notices.js';
import { type DeclaredShape, encodeDeclared, foldPlan } from './plan-fields.js';
import { runScript } from './scripts.js';

/** The warm plans: which shapes each model version should have warm. Warm-ups add to them through WarmupStore. */
export class PlanStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** The plan's shapes by key, those that are held back included. Empty for a plan that nobody wrote. */
  async entries(model: string, version: string): Promise<PlanEntry[]> {
    return foldPlan(await this.#redis.hgetall(keys.plan(model, version)));
  }

  /**
   * Replaces the declared part. True where the plan changed; the same declaration again changes nothing, so a shape that
   * was removed by hand stays out until the yaml changes. What is held back stays held.
   */
  async setDeclared(model: string, version: string, shapes: readonly DeclaredShape[]): Promise<boolean> {
    const sorted = [...shapes].sort((a, b) => (a.shapeKey < b.shapeKey ? -1 : 1));
    const digest = createHash('sha256')
      .update(JSON.stringify(sorted.map((shape) => encodeShape(shape, ''))))
      .digest('hex');
    const addedAt = new Date().toISOString();
    const pairs = sorted.flatMap((shape) => encodeShape(shape, addedAt));
    return this.#change('setDeclared', model, version, [digest], pairs);
  }

  /** Takes a shape out of the plan, whoever named it. False where it is not in the plan. */
  remove(model: string, version: string, shapeKey: string): Promise<boolean> {
    return this.#change('removePlanShape', model, version, [shapeKey]);
  }

  /** Holds a shape back on one worker until a warm-up names it. False where it is not in the plan or held already. */
  hold(model: string, version: string, shapeKey: string, worker: string): Promise<boolean> {
    return this.#change('holdShape', model, version, [shapeKey, worker, '1']);
  }

  /** Undoes {@link hold}. False where it was not held. */
  unhold(model: string, version: string, shapeKey: string, worker: string): Promise<boolean> {
    return this.#change('holdShape', model, version, [shapeKey, worker, '0']);
  }

  /** Grows with every change of the plan; 0 for a plan that nobody wrote. */
  async revision(model: string, version: string): Promise<number> {
    return Number((await this.#redis.hget(keys.plan(model, version), 'revision')) ?? '0');
  }

  async #change(
    script: string,
    model: string,
    version: string,
    first: readonly string[],
    last: readonly string[] = [],
  ): Promise<boolean> {
    const notice = encodeNotice({ kind: 'plan', model, version });
    const args = [...first, NOTICES_CHANNEL, notice, ...last];
    return (await runScript(this.#redis, script, [keys.plan(model, version)], args)) === 1;
  }
}

function encodeShape(shape: DeclaredShape, addedAt: string): [string, string] {
  return [shape.shapeKey, encodeDeclared(shape, addedAt)];
}
