import { freePort, type HttpAddress, isPortFree, printAddress, SetupError } from '@warmlane/process';
import type { Settings } from '../config/settings.schema.js';
import type { Log } from '../log.js';
import { startApp } from './app-process.js';
import { childEnv } from './child-env.js';
import { lockDataFolder } from './data-folder.js';
import { makeFolder } from './make-folder.js';
import { findRedis, OwnRedis } from './own-redis.js';
import { untilLive } from './ready-probe.js';
import { Supervised } from './supervised.js';
import { workerDevices } from './worker-devices.js';

// From the request to stop, all counted from there, so that even with everything hanging the whole is gone in 20 s. The API
// ends its open requests, which the workers still answer meanwhile: 14.5 s at most. What a worker does not
// finish in time is in Redis for the next start.
const API_GONE_MS = 15_000;
const WORKERS_GONE_MS = 18_000;
const REDIS_GONE_MS = 19_000;

export interface ServeOptions {
  settings: Settings;
  env: NodeJS.ProcessEnv;
  log: Log;
  /** Where the processes write their logs. */
  logFd: number;
  /** The program of an app. */
  appMain: (app: 'api' | 'worker') => string;
  /** Called once the API answers, with its address. */
  onReady: (address: HttpAddress) => void;
}

/** The processes of one `serve`: own Redis if none was given, API, workers. */
export class Serve {
  readonly #stop = new AbortController();
  readonly #redis: Supervised[] = [];
  readonly #api: Supervised[] = [];
  readonly #workers: Supervised[] = [];
  #hopeless: string | null = null;

  constructor(private readonly options: ServeOptions) {}

  /** Resolves after an orderly end that `stop` asked for. @throws SetupError when it cannot run with these settings */
  async run(): Promise<void> {
    const { settings } = this.options;
    const devices = await workerDevices(settings);
    await makeFolder(settings.models, '--models DIR (WARMLANE_MODELS)');
    // Before the port: who starts a second one by mistake is told of the first, not of one of its ports.
    const lock = settings.redis === undefined ? await lockDataFolder(settings.data) : null;
    try {
      const http = await settleAddress(settings.http);
      const redisUrl = settings.redis ?? (await this.#startRedis());
      this.#startApps(http, redisUrl, devices);
      const api = this.#api[0];
      if (await untilLive(http, () => api?.isRunning ?? false, this.#stop.signal)) {
        this.options.onReady(http);
        await aborted(this.#stop.signal);
      }
    } catch (error) {
      // Asked to stop while Redis was being fetched: that is an orderly end.
      if (error !== this.#stop.signal.reason) throw error;
    } finally {
      await this.#stopAll();
      await lock?.release();
    }
    if (this.#hopeless !== null) {
      throw new SetupError(this.#hopeless);
    }
  }

  /** Ends everything in order; the second call kills what is left. */
  stop(): void {
    if (this.#stop.signal.aborted) {
      for (const process of this.#all) process.kill();
    }
    this.#stop.abort();
  }

  async #stopAll(): Promise<void> {
    const startedAt = performance.now();
    const leftMs = (gone: number): number => Math.max(0, startedAt + gone - performance.now());
    // Whoever was stopped (SIGSTOP) hears nothing else, and holds up those that wait for it.
    for (const process of this.#all) process.resume();
    await stopAll(this.#api, leftMs(API_GONE_MS));
    await stopAll(this.#workers, leftMs(WORKERS_GONE_MS));
    await stopAll(this.#redis, leftMs(REDIS_GONE_MS));
  }

  get #all(): Supervised[] {
    return [...this.#api, ...this.#workers, ...this.#redis];
  }

  async #startRedis(): Promise<string> {
    const { settings, env, log } = this.options;
    const redis = await OwnRedis.start(await findRedis(env, log, this.#stop.signal), settings.data, log);
    this.#redis.push(this.#supervise('redis', () => redis.run()));
    return redis.url;
  }

  #startApps(http: HttpAddress, redisUrl: string, devices: readonly string[]): void {
    const { settings, env, appMain, logFd } = this.options;
    if (this.#stop.signal.aborted) {
      return;
    }
    const api = appMain('api');
    this.#api.push(this.#supervise('api', () => startApp(api, childEnv(env, { settings, http, redisUrl }), logFd)));
    const worker = appMain('worker');
    for (const [n, device] of devices.entries()) {
      const workerEnv = childEnv(env, { settings: { ...settings, device }, http, redisUrl });
      this.#workers.push(this.#supervise(`worker ${n}`, () => startApp(worker, workerEnv, logFd)));
    }
  }

  #supervise(name: string, start: ConstructorParameters<typeof Supervised>[0]['start']): Supervised {
    const supervised = new Supervised({
      name,
      start,
      log: this.options.log,
      onHopeless: (reason) => {
        this.#hopeless ??= reason;
        this.#stop.abort();
      },
    });
    supervised.start();
    return supervised;
  }
}

async function settleAddress(given: HttpAddress): Promise<HttpAddress> {
  if (given.port === 0) {
    // Settled here, so that an API that is started again comes back on the same port.
    return { host: given.host, port: await freePort(given.host) };
  }
  if (!(await isPortFree(given.host, given.port))) {
    throw new SetupError(
      `Cannot listen on ${printAddress(given)}: the port is in use or the address is not this machine's. ` +
        `Stop what uses it, or choose another with --http HOST:PORT`,
    );
  }
  return given;
}

async function stopAll(processes: readonly Supervised[], graceMs: number): Promise<void> {
  await Promise.all(processes.map((process) => process.stop(graceMs)));
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
    } else {
      signal.addEventListener('abort', () => resolve(), { once: true });
    }
  });
}
