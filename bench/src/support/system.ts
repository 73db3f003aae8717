import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { homedir } from 'node:os';
import { createInterface } from 'node:readline';
import { cacheFolder, findRedisServer, freePort, RedisServer } from '@warmlane/process';
import { ROOT } from './result.js';

/** A Redis of the bench's own that writes nothing to disk. */
export async function startRedis(extraArgs: readonly string[] = []): Promise<RedisServer> {
  const binary = await findRedisServer({
    path: process.env.PATH ?? '',
    cacheDir: cacheFolder(process.env.XDG_CACHE_HOME, homedir()),
  });
  return RedisServer.start({ binary, persistence: 'none', extraArgs });
}

export interface SystemOptions {
  models: string;
  redis: string;
  data: string;
  workers?: number;
  /** Default: `cpu`. */
  device?: string;
  env?: Record<string, string>;
  /** File that the log is added to; default: the bench's own stderr. */
  log?: string;
}

/** `./warmlane serve` as a user starts it: API, worker, runtime, reference and fallback. */
export class System implements AsyncDisposable {
  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
  ) {}

  get pid(): number {
    return this.child.pid ?? 0;
  }

  static async start(options: SystemOptions): Promise<System> {
    const port = await freePort('127.0.0.1');
    const args = [
      `${ROOT}apps/cli/dist/main.js`,
      'serve',
      '--models',
      options.models,
      '--http',
      `127.0.0.1:${port}`,
      '--redis',
      options.redis,
    ];
    args.push('--device', options.device ?? 'cpu', '--workers', String(options.workers ?? 1));
    const log = options.log === undefined ? null : openSync(options.log, 'a');
    const child = spawn(process.execPath, args, {
      cwd: ROOT,
      env: { ...process.env, WARMLANE_DATA: options.data, ...options.env },
      stdio: ['ignore', 'pipe', log ?? 'inherit'],
    });
    if (log !== null) closeSync(log);
    const where = options.log ?? 'its log above';
    const ready = new Promise<string>((resolve, reject) => {
      if (child.stdout === null) throw new Error('serve has no stdout');
      createInterface({ input: child.stdout }).on('line', (line) => {
        const url = /^warmlane ready (http:\S+)$/.exec(line)?.[1];
        if (url !== undefined) resolve(url);
      });
      child.once('exit', (code) => reject(new Error(`serve ended with ${code} before it was ready; see ${where}`)));
    });
    return new System(await ready, child);
  }

  /** Waits until the required plan was READY once. */
  async untilReady(limitMs: number): Promise<void> {
    const until = performance.now() + limitMs;
    for (;;) {
      const answer = await fetch(`${this.url}/health/ready`);
      const body = await answer.text();
      if (answer.status === 200) return;
      if (performance.now() > until) throw new Error(`not ready after ${limitMs} ms: ${body}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGTERM');
    await once(this.child, 'exit');
  }
}
