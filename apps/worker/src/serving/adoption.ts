import { type ClassSight, type ClassStore, classQueueName, type Liveness } from '@warmlane/redis';
import type { Logger } from 'pino';
import type { HeldModel } from '../ports.js';
import { ADOPTED_IDLE_MS, CLASS_KEPT_MS, HELD_LOOK_MS } from './serving.settings.js';
import type { Subscriptions } from './subscriptions.js';

interface Orphan {
  /** Since when the class has no live holder, and since when its queue is empty as well. */
  emptySince: number | null;
}

/**
 * A class queue whose last holder died or left still holds jobs. Nothing is moved: a worker of the model consumes the
 * queue in fallback mode until a holder lives again, and lets it go once it is empty. BullMQ gives each job to one
 * worker, so any number of adopters is right.
 */
export class Adoption {
  readonly #models = new Map<string, HeldModel>();
  readonly #orphans = new Map<string, Orphan>();
  /** Holders of queues that were held by others at the last look. */
  readonly #held = new Map<string, { at: number; holders: ClassSight['holders'] }>();
  #looking: Promise<void> | null = null;

  constructor(
    private readonly deps: {
      worker: string;
      classes: ClassStore;
      liveness: Liveness;
      subscriptions: Subscriptions;
      log: Logger;
    },
  ) {}

  add(model: HeldModel): void {
    this.#models.set(`${model.name}/${model.version}`, model);
  }

  /** Lets the model's adopted queues go; resolves when nothing of them runs. */
  async drop(model: HeldModel): Promise<void> {
    this.#models.delete(`${model.name}/${model.version}`);
    const prefix = classQueueName(model.name, model.version, '');
    for (const queue of this.#held.keys()) if (queue.startsWith(prefix)) this.#held.delete(queue);
    const adopted = this.deps.subscriptions.fallbackQueues().filter((queue) => queue.startsWith(prefix));
    await Promise.all(adopted.map((queue) => this.deps.subscriptions.removeFallback(queue)));
  }

  /** Looks through the class queues of the held models. One look at a time; a failed one is repeated by the next. */
  look(): Promise<void> {
    this.#looking ??= this.#lookAtAll()
      .catch((error: unknown) => this.deps.log.warn({ err: error }, 'could not look for class queues without a holder'))
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }

  async #lookAtAll(): Promise<void> {
    const { subscriptions, classes, liveness } = this.deps;
    for (const model of this.#models.values()) {
      const all = await classes.list(model.name, model.version);
      const queues = new Map(all.map((name) => [name, classQueueName(model.name, model.version, name)]));
      for (const queue of queues.values()) if (subscriptions.hasLane(queue)) this.#orphans.delete(queue);
      const live = await liveness.live();
      const others = all.filter((name) => {
        const queue = queues.get(name) ?? '';
        return !subscriptions.hasLane(queue) && !this.#heldLately(queue, live);
      });
      const seen = await classes.look(model.name, model.version, others);
      await Promise.all(seen.map((sight, n) => this.#consider(model, others[n] ?? '', sight, live)));
    }
  }

  /** With 200 classes on 4 workers, looks at every queue every time were 10,000 commands a second. */
  #heldLately(queue: string, live: ReadonlyMap<string, number>): boolean {
    const held = this.#held.get(queue);
    if (held === undefined || performance.now() - held.at > HELD_LOOK_MS) return false;
    return held.holders.some((holder) => this.#isLive(holder, live));
  }

  #isLive(holder: ClassSight['holders'][number], live: ReadonlyMap<string, number>): boolean {
    return holder.worker !== this.deps.worker && live.get(holder.worker) === holder.epoch;
  }

  async #consider(
    model: HeldModel,
    shapeClass: string,
    sight: ClassSight,
    live: ReadonlyMap<string, number>,
  ): Promise<void> {
    const { subscriptions, classes } = this.deps;
    const queue = classQueueName(model.name, model.version, shapeClass);
    // An entry of this worker is one that its dead runtime left behind: no lane here holds the class.
    const held = sight.holders.some((holder) => this.#isLive(holder, live));
    if (held) {
      this.#held.set(queue, { at: performance.now(), holders: sight.holders });
      this.#orphans.delete(queue);
      if (subscriptions.hasFallback(queue)) this.#release(queue);
      return;
    }
    this.#held.delete(queue);
    const jobs = sight.jobs + subscriptions.active(queue);
    const orphan = this.#orphans.get(queue) ?? { emptySince: null };
    this.#orphans.set(queue, orphan);
    if (jobs > 0) {
      orphan.emptySince = null;
      if (!subscriptions.hasFallback(queue) && !subscriptions.hasLane(queue) && this.#holds(model)) {
        this.deps.log.info({ queue, jobs }, 'a class queue has no live holder: served by the fallback');
        await subscriptions.addFallback(queue);
      }
      return;
    }
    orphan.emptySince ??= performance.now();
    const emptyMs = performance.now() - orphan.emptySince;
    if (subscriptions.hasFallback(queue)) {
      if (emptyMs >= ADOPTED_IDLE_MS) this.#release(queue);
    } else if (emptyMs >= CLASS_KEPT_MS && (await classes.drop(model.name, model.version, shapeClass))) {
      this.#orphans.delete(queue);
    }
  }

  #holds(model: HeldModel): boolean {
    return this.#models.has(`${model.name}/${model.version}`);
  }

  /** Not awaited: closing waits for what runs, and the other queues should not. */
  #release(queue: string): void {
    this.deps.log.info({ queue }, 'the fallback lets a class queue go');
    this.deps.subscriptions.removeFallback(queue).catch((error: unknown) => {
      this.deps.log.warn({ err: error, queue }, 'an adopted queue was not closed in order');
    });
  }
}
