import { homedir } from 'node:os';
import { cacheFolder, findRedisServer, type RedisBinary, RedisServer } from '@warmlane/process';

export interface StartRedisOptions {
  /** Default `none`. `aof` keeps what was written over `restart`. */
  persistence?: 'none' | 'aof';
  /** More of redis-server's own arguments. */
  args?: readonly string[];
}

let found: Promise<RedisBinary> | null = null;

/** The Redis server that tests use, looked for once per process. */
export function testRedisBinary(): Promise<RedisBinary> {
  found ??= findRedisServer({
    path: process.env.PATH ?? '',
    cacheDir: cacheFolder(process.env.XDG_CACHE_HOME, homedir()),
  });
  return found;
}

/**
 * A real Redis of this test's own on a free port; it dies with the test process. `await using` stops it, or call `stop`.
 * It can be killed, paused, resumed and restarted on the same port.
 */
export async function startRedis(options: StartRedisOptions = {}): Promise<RedisServer> {
  return RedisServer.start({
    binary: await testRedisBinary(),
    persistence: options.persistence ?? 'none',
    extraArgs: options.args,
  });
}
