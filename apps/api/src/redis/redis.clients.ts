import type { Logger } from '@warmlane/observability';
import { createRedis, type RedisLogger } from '@warmlane/redis';
import type { Redis } from 'ioredis';

/** The API's connections. Blocking readers and subscribers duplicate the main one. */
export class RedisClients {
  readonly main: Redis;
  /** The main one where blobs have no Redis of their own. */
  readonly blobs: Redis;

  constructor(urls: { main: string; blobs: string }, logger: Logger) {
    const log: RedisLogger = logger;
    this.main = createRedis(urls.main, { name: 'warmlane-api', logger: log });
    this.blobs = createRedis(urls.blobs, { name: 'warmlane-api-blobs', logger: log });
  }

  close(): void {
    this.main.disconnect();
    this.blobs.disconnect();
  }
}
