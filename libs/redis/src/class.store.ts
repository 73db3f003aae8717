import type { Redis } from 'ioredis';
import type { Holder } from './holders.js';
import { keys, PREFIX } from './keys.js';
import { CLASS_FAILED_KEPT_MS } from './lifetimes.js';
import { classQueueName, coldQueueName } from './queue-names.js';
import { OPEN_JOBS, QUEUE_REMAINS } from './queue-remains.js';
import { runScript } from './scripts.js';

/** A shape class as it was seen. */
export interface ClassSight {
  /** Jobs of its queue that wait or run. */
  jobs: number;
  /** Whoever said that it holds the class, live or not. */
  holders: Holder[];
}

/** The shape classes of a model that have, or had, a queue: how orphaned queues are found without a scan. */
export class ClassStore {
  constructor(private readonly redis: Redis) {}

  /** Classes that were held once and not forgotten since. {@link LaneStore.ready} adds to them. */
  list(model: string, version: string): Promise<string[]> {
    return this.redis.smembers(keys.classes(model, version));
  }

  /** Holders and jobs of the given classes, in their order: one command. */
  async look(model: string, version: string, classes: readonly string[]): Promise<ClassSight[]> {
    if (classes.length === 0) return [];
    const names = classes.flatMap((shapeClass) => {
      const queue = queueKey(model, version, shapeClass);
      return [keys.holders(model, version, shapeClass), `${queue}:wait`, `${queue}:active`, `${queue}:prioritized`];
    });
    const reply = await runScript(this.redis, 'lookClasses', names, []);
    return (Array.isArray(reply) ? reply : []).map((seen) => {
      const [jobs, ...holders] = Array.isArray(seen) ? seen : [];
      return { jobs: Number(jobs ?? 0), holders: holders.map((member) => parseMember(String(member))) };
    });
  }

  /** Notes the rules by which smaller requests may be padded to a class, or that there are none. */
  async setPadding(model: string, version: string, shapeClass: string, rules: string | null): Promise<void> {
    const key = keys.padding(model, version);
    if (rules === null) await this.redis.hdel(key, shapeClass);
    else await this.redis.hset(key, shapeClass, rules);
  }

  /** By class, what {@link setPadding} noted last. */
  paddings(model: string, version: string): Promise<Record<string, string>> {
    return this.redis.hgetall(keys.padding(model, version));
  }

  /**
   * Forgets a class without holders and jobs, and what is left of its queue. False where it has either, or a failed job
   * that is not older than `failedKeptMs`.
   */
  async drop(
    model: string,
    version: string,
    shapeClass: string,
    { failedKeptMs = CLASS_FAILED_KEPT_MS }: { failedKeptMs?: number } = {},
  ): Promise<boolean> {
    const queue = queueKey(model, version, shapeClass);
    const all = [
      keys.classes(model, version),
      keys.holders(model, version, shapeClass),
      keys.padding(model, version),
      ...[...OPEN_JOBS, 'failed', ...QUEUE_REMAINS].map((name) => `${queue}:${name}`),
    ];
    return (await runScript(this.redis, 'dropClass', all, [shapeClass, failedKeptMs, `${queue}:`])) === 1;
  }

  /** Forgets what is left of a version's cold queue. False where it has jobs as {@link drop}, or somebody consumes it. */
  async dropCold(
    model: string,
    version: string,
    { failedKeptMs = CLASS_FAILED_KEPT_MS }: { failedKeptMs?: number } = {},
  ): Promise<boolean> {
    const queue = `${PREFIX}:${coldQueueName(model, version)}`;
    const all = [...OPEN_JOBS, 'stalled-check', 'failed', ...QUEUE_REMAINS].map((name) => `${queue}:${name}`);
    return (await runScript(this.redis, 'dropColdQueue', all, [failedKeptMs, `${queue}:`])) === 1;
  }
}

function queueKey(model: string, version: string, shapeClass: string): string {
  return `${PREFIX}:${classQueueName(model, version, shapeClass)}`;
}

/** `worker:epoch:lane`, as it stands in the set of holders. */
function parseMember(member: string): Holder {
  const [worker = '', epoch = ''] = member.split(':');
  return { worker, epoch: Number(epoch) };
}
