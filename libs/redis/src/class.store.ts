import type { Redis } from 'ioredis';
import { keys, PREFIX } from './keys.js';
import { classQueueName } from './queue-names.js';
import { runScript } from './scripts.js';

/** Where BullMQ keeps the jobs of a queue; each vanishes with its last job. */
const LISTS = ['wait', 'active', 'paused'] as const;
const SORTED = ['prioritized', 'delayed', 'failed'] as const;
/** What BullMQ leaves behind of a queue without jobs. */
const REMAINS = ['meta', 'id', 'pc', 'events', 'marker', 'stalled', 'stalled-check', 'repeat', 'limiter'] as const;

/** The shape classes of a model that have, or had, a queue: how orphaned queues are found without a scan. */
export class ClassStore {
  constructor(private readonly redis: Redis) {}

  /** Classes that were held once and not forgotten since. {@link LaneStore.ready} adds to them. */
  list(model: string, version: string): Promise<string[]> {
    return this.redis.smembers(keys.classes(model, version));
  }

  /** Jobs of the class's queue that wait or run. */
  async jobs(model: string, version: string, shapeClass: string): Promise<number> {
    const queue = `${PREFIX}:${classQueueName(model, version, shapeClass)}`;
    const counts = await Promise.all([
      this.redis.llen(`${queue}:wait`),
      this.redis.llen(`${queue}:active`),
      this.redis.zcard(`${queue}:prioritized`),
    ]);
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Forgets a class without holders and jobs, and what is left of its queue. False where it has either. */
  async drop(model: string, version: string, shapeClass: string): Promise<boolean> {
    const queue = `${PREFIX}:${classQueueName(model, version, shapeClass)}`;
    const names = [...LISTS, ...SORTED, ...REMAINS].map((name) => `${queue}:${name}`);
    const all = [keys.classes(model, version), keys.holders(model, version, shapeClass), ...names];
    return (await runScript(this.redis, 'dropClass', all, [shapeClass])) === 1;
  }
}
