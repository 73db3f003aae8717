import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePort } from '@warmlane/process';
import { ROOT } from './result.js';

const READY_MS = 60_000;

/** Further API processes on the same Redis, as `./warmlane api` starts them. */
export class MoreApis implements AsyncDisposable {
  private constructor(
    readonly urls: readonly string[],
    private readonly all: readonly ChildProcess[],
  ) {}

  static async start(count: number, redis: string): Promise<MoreApis> {
    const started = await Promise.all(
      Array.from({ length: count }, async () => {
        const address = `127.0.0.1:${await freePort('127.0.0.1')}`;
        const child = spawn(process.execPath, [`${ROOT}apps/cli/dist/main.js`, 'api'], {
          cwd: ROOT,
          env: { ...process.env, WARMLANE_HTTP: address, WARMLANE_REDIS: redis },
          stdio: ['ignore', 'ignore', 'inherit'],
        });
        return { url: `http://${address}`, child };
      }),
    );
    const apis = new MoreApis(
      started.map(({ url }) => url),
      started.map(({ child }) => child),
    );
    await Promise.all(apis.urls.map(untilReady));
    return apis;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const left = this.all.filter((child) => child.exitCode === null && child.signalCode === null);
    for (const child of left) child.kill('SIGTERM');
    await Promise.all(left.map((child) => once(child, 'exit')));
  }
}

async function untilReady(url: string): Promise<void> {
  for (const until = performance.now() + READY_MS; ; ) {
    const status = await fetch(`${url}/health/ready`).then(
      (answer) => answer.status,
      () => null,
    );
    if (status === 200) return;
    if (performance.now() > until) throw new Error(`the API at ${url} is not ready after ${READY_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
