import { placeLane } from '@warmlane/lanes';
import {
  EntryDispatcher,
  type EntryDispatcherOptions,
  type FirstLoadPort,
  Producer,
  WarmupCoordinator,
} from '@warmlane/queues';
import { BlobStore, Liveness, Notices } from '@warmlane/redis';
import type { Redis } from 'ioredis';

/** What an API process runs of the queues library. */
export interface ApiParts {
  redis: Redis;
  coordinator: WarmupCoordinator;
  close: () => Promise<void>;
  /** As kill -9 leaves it. */
  die: () => Promise<void>;
}

export async function startApiParts(
  connect: (name: string) => Redis,
  options: Pick<EntryDispatcherOptions, 'sweepEveryMs'> = {},
): Promise<ApiParts> {
  const redis = connect('api');
  const blobRedis = connect('api-blobs');
  const limitBytes = 2 ** 30;
  const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: limitBytes });
  const liveness = new Liveness(redis);
  const notices = new Notices(redis);
  const coordinator = new WarmupCoordinator({
    redis,
    liveness,
    notices,
    place: (lane, replicas, workers) => placeLane(lane, replicas, workers),
  });
  const blobs = new BlobStore(blobRedis, redis, { limitBytes });
  // Its models are there before it is.
  const firstLoad: FirstLoadPort = { during: (work) => work() };
  const dispatcher = new EntryDispatcher({ redis, producer, coordinator, firstLoad, blobs, ...options });
  await producer.start();
  await coordinator.start();
  await dispatcher.start();
  let dead = false;
  const close = async (): Promise<void> => {
    if (dead) return;
    dead = true;
    await dispatcher.close();
    await coordinator.close();
    await producer.close();
    notices.close();
    liveness.close();
  };
  const die = async (): Promise<void> => {
    dead = true;
    redis.disconnect();
    blobRedis.disconnect();
    notices.close();
    liveness.close();
    await Promise.allSettled([dispatcher.close(), producer.close(), coordinator.close()]);
  };
  return { redis, coordinator, close, die };
}
