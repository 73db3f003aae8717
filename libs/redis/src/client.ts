import { WarmlaneError } from '@warmlane/contracts';
import { Redis } from 'ioredis';
import { PREFIX } from './keys.js';
import type { RedisLogger } from './logger.js';
import { writeOncePerTurn } from './one-write-per-turn.js';
import { Outage } from './outage.js';

export interface CreateRedisOptions {
  /** Shown by CLIENT LIST and in the log, for example `api` or `worker-0`. */
  name: string;
  logger?: RedisLogger;
}

/**
 * A client for one Redis server (or a Sentinel-managed one behind an address). Commands wait through an outage instead
 * of failing (`maxRetriesPerRequest: null`, which BullMQ demands of blocking clients); reconnects are tried after 50 ms,
 * doubling to 1 s. Throws `bad-request` on a URL that is not `redis://` or `rediss://`.
 */
export function createRedis(url: string, options: CreateRedisOptions): Redis {
  checkUrl(url);
  const redis = new Redis(url, {
    connectionName: options.name,
    maxRetriesPerRequest: null,
    enableReadyCheck: true,
    keepAlive: 5_000,
    retryStrategy: (times: number) => Math.min(50 * 2 ** Math.min(times - 1, 5), 1_000),
  });
  redis.setMaxListeners(0);
  writeOncePerTurn(redis);
  Outage.of(redis, options.name, options.logger ?? null);
  return redis;
}

/** Another connection to the same Redis, for blocking reads and subscriptions; the first one reports outages. */
export function duplicateRedis(redis: Redis, name: string): Redis {
  const copy = redis.duplicate({ connectionName: name });
  copy.setMaxListeners(0);
  Outage.of(copy, name);
  return copy;
}

function checkUrl(url: string): void {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch (cause) {
    throw new WarmlaneError('bad-request', `'${redactUrl(url)}' is not a Redis URL`, 'Write it redis://HOST:PORT.', {
      cause,
    });
  }
  if (parsed.protocol !== 'redis:' && parsed.protocol !== 'rediss:') {
    throw new WarmlaneError(
      'bad-request',
      `'${redactUrl(url)}' is not a Redis URL`,
      'Write it redis://HOST:PORT, or rediss:// for TLS.',
    );
  }
}

/** A URL without its password, for messages and logs. */
export function redactUrl(url: string): string {
  return url.replace(/(\/\/[^:@/]*:)[^@/]*@/, '$1***@');
}

export interface RedisInfo {
  version: string;
  /** `redis`, or `valkey` and the like where the server says so. */
  server: string;
  maxmemoryPolicy: string;
  aofEnabled: boolean;
  maxclients: number;
}

/**
 * Checks that the server can carry Warmlane. Throws `not-supported` for a Cluster and for a server older than 6.2 (GETEX,
 * `SET ... KEEPTTL` in scripts); logs a warning where the server may evict keys.
 */
export async function checkRedis(redis: Redis, logger?: RedisLogger): Promise<RedisInfo> {
  const fields = parseInfo(await redis.info());
  const version = fields.get('redis_version') ?? '0.0.0';
  if (fields.get('cluster_enabled') === '1' || fields.get('redis_mode') === 'cluster') {
    throw new WarmlaneError(
      'not-supported',
      'this Redis is a Cluster node, which is not supported',
      `All keys carry the hash tag ${PREFIX} and lie in one slot: use a single Redis, with Sentinel for failover.`,
    );
  }
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    throw new WarmlaneError('not-supported', `Redis ${version} is too old`, 'Use Redis 6.2 or newer, or Valkey.');
  }
  const maxmemoryPolicy = fields.get('maxmemory_policy') ?? 'unknown';
  if (maxmemoryPolicy !== 'noeviction') {
    logger?.warn(
      { maxmemoryPolicy },
      "Redis may evict jobs and warm records under memory pressure; set 'maxmemory-policy noeviction'",
    );
  }
  return {
    version,
    server: fields.get('server_name') ?? 'redis',
    maxmemoryPolicy,
    aofEnabled: fields.get('aof_enabled') === '1',
    maxclients: Number(fields.get('maxclients') ?? '0'),
  };
}

function parseInfo(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return fields;
}
