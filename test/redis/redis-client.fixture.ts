import { createRedis } from '@warmlane/redis';
import { startRedis } from '@warmlane/testing';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach } from 'vitest';

type Server = Awaited<ReturnType<typeof startRedis>>;

export interface RedisFixture {
  server: Server;
  redis: Redis;
  /** Another client, disconnected at the end. */
  connect(name?: string): Redis;
}

/** One Redis server per test file, emptied before each test. */
export function useRedis(options: Parameters<typeof startRedis>[0] = {}): RedisFixture {
  const clients: Redis[] = [];
  const fixture: Partial<RedisFixture> = {};
  const get = <K extends keyof RedisFixture>(name: K): RedisFixture[K] => {
    const value = fixture[name];
    if (value === undefined) throw new Error('the fixture is filled in beforeAll; use it inside tests');
    return value;
  };
  const connect = (name = 'test'): Redis => {
    const client = createRedis(get('server').url, { name });
    clients.push(client);
    return client;
  };
  beforeAll(async () => {
    fixture.server = await startRedis(options);
    fixture.redis = connect();
  });
  beforeEach(async () => {
    await get('redis').flushall();
  });
  afterAll(async () => {
    for (const client of clients) client.disconnect();
    await fixture.server?.stop();
  });
  return {
    get server() {
      return get('server');
    },
    get redis() {
      return get('redis');
    },
    connect,
  };
}
