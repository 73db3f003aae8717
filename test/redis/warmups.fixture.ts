import type { WarmupView } from '@warmlane/contracts';
import { placeLane } from '@warmlane/lanes';
import { createQueue, WarmupCoordinator, type WarmupCoordinatorOptions } from '@warmlane/queues';
import { Liveness, Notices, WARM_MODEL_QUEUE } from '@warmlane/redis';
import type { Redis } from 'ioredis';
import { afterEach } from 'vitest';
import { type RedisFixture, useRedis } from './redis-client.fixture.js';
import { MODEL, StandInWorker } from './stand-in-worker.fixture.js';

export const SHAPES = ['x:float32[1,1]', 'x:float32[1,2]', 'x:float32[1,3]', 'x:float32[1,4]'];
export const never = (): Promise<never> => new Promise<never>(() => undefined);
export const ready = () => Promise.resolve('ready' as const);
export const request = (more: object = {}) => ({ model: MODEL, version: '1', shapes: SHAPES, ...more });

export const finished = (coordinator: WarmupCoordinator, id: string): Promise<WarmupView> =>
  coordinator.finished(id, AbortSignal.timeout(25_000));

/** A coordinator that has begun, and what closes it. */
export async function coordinatorOver(redis: Redis, options: Pick<WarmupCoordinatorOptions, 'sweep'> = {}) {
  const liveness = new Liveness(redis);
  const notices = new Notices(redis);
  const coordinator = new WarmupCoordinator({
    redis,
    liveness,
    notices,
    place: (lane, replicas, workers) => placeLane(lane, replicas, workers),
    ...options,
  });
  await coordinator.start();
  const close = async (): Promise<void> => {
    await coordinator.close();
    notices.close();
    liveness.close();
  };
  return { coordinator, close };
}

interface Warmups {
  redisOf: RedisFixture;
  /** Each is closed after the test. */
  startCoordinator(options?: Pick<WarmupCoordinatorOptions, 'sweep'>): Promise<WarmupCoordinator>;
  startWorker(id: string): Promise<StandInWorker>;
  /** Jobs of the queue of whole warm-ups, by their state. */
  parentCounts(): Promise<Record<string, number>>;
}

/** Coordinators and workers over one Redis server per test file. */
export function useWarmups(): Warmups {
  const redisOf = useRedis();
  const closing: (() => Promise<void> | void)[] = [];

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  return {
    redisOf,
    async startCoordinator(options) {
      const { coordinator, close } = await coordinatorOver(redisOf.connect('coordinator'), options);
      closing.push(close);
      return coordinator;
    },
    async startWorker(id) {
      const worker = await new StandInWorker(redisOf.server.url, { id }).start();
      closing.push(() => worker.stop());
      return worker;
    },
    async parentCounts() {
      const queue = createQueue(WARM_MODEL_QUEUE, { redis: redisOf.redis });
      const counts = await queue.getJobCounts();
      await queue.close();
      return counts;
    },
  };
}
