import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { cacheFolder, findRedisServer, type RedisBinary, RedisServer } from '@warmlane/process';
import type { RunningProcess } from './app-process.js';
import { DATA_SETTING } from './data-folder.js';
import { makeFolder, whyFolderFails } from './make-folder.js';
import { noteProcess, waitForNotedProcess } from './process-note.js';

const NOTE = 'redis.pid.json';
const LAST_REDIS_MS = 5_000;

/**
 * A Redis server on this machine, installed or unpacked. `signal` gives up a download.
 *
 * @throws SetupError naming what to install, or the reason of `signal`
 */
export function findRedis(
  env: NodeJS.ProcessEnv,
  log: (text: string) => void,
  signal?: AbortSignal,
): Promise<RedisBinary> {
  return findRedisServer({
    path: env.PATH ?? '',
    cacheDir: cacheFolder(env.XDG_CACHE_HOME, homedir()),
    onProgress: (text) => log(`no Redis on the PATH: ${text}`),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** The Redis that `serve` brings: append-only file under the data folder, one port over all its restarts. */
export class OwnRedis {
  private fresh = true;

  private constructor(
    private readonly server: RedisServer,
    private readonly note: string,
    private readonly log: (text: string) => void,
  ) {}

  static async start(binary: RedisBinary, dataFolder: string, log: (text: string) => void): Promise<OwnRedis> {
    const dir = join(dataFolder, 'redis');
    await makeFolder(dir, DATA_SETTING);
    // After a kill of the whole program the last Redis may still be writing its file.
    await waitForNotedProcess(join(dataFolder, NOTE), LAST_REDIS_MS);
    const server = await RedisServer.start({
      binary,
      dir,
      persistence: 'aof',
      onLine: (line) => log(`redis: ${line}`),
    });
    const redis = new OwnRedis(server, join(dataFolder, NOTE), log);
    await redis.#noteServer();
    return redis;
  }

  get url(): string {
    return this.server.url;
  }

  /** The server that runs already, the first time; afterwards a new one on the same port and files. */
  async run(): Promise<RunningProcess> {
    if (!this.fresh) {
      await this.server.restart();
      await this.#noteServer();
    }
    this.fresh = false;
    return {
      pid: this.server.pid,
      ended: this.server.ended,
      signal: (signal) => this.server.signal(signal),
    };
  }

  /** Only for a start after a kill of everything: without the note that start does not wait for this server's last write. */
  async #noteServer(): Promise<void> {
    try {
      await noteProcess(this.note, this.server.pid);
    } catch (error) {
      this.log(
        `the process id of Redis could not be noted: ${whyFolderFails(dirname(this.note), error, DATA_SETTING)}`,
      );
    }
  }
}
