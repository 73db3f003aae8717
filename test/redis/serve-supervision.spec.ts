import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { printAddress } from '@warmlane/process';
import { startRedis } from '@warmlane/testing';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readSettings } from '../../apps/cli/src/config/settings.schema.js';
import { Serve } from '../../apps/cli/src/serve/serve.js';

// Programs in place of the API and the worker that end in ways the real ones do not offer on request. Each notes what
// happens to it in `events`.
const COMMON = `
  import { appendFileSync } from 'node:fs';
  import { createServer } from 'node:http';
  const note = (text) => appendFileSync(process.env.EVENTS, text + '\\n');
`;
const API = `${COMMON}
  const at = process.env.WARMLANE_HTTP.lastIndexOf(':');
  const server = createServer((request, response) => response.end('{}'));
  server.listen(Number(process.env.WARMLANE_HTTP.slice(at + 1)), process.env.WARMLANE_HTTP.slice(0, at));
  note('api ' + process.pid + ' ' + process.env.WARMLANE_REDIS);
  process.on('SIGTERM', () => { note('api ends'); process.exit(0); });
`;
const WORKER = `${COMMON}
  note('worker ' + process.pid + ' ' + process.env.WARMLANE_DEVICE);
  setInterval(() => {}, 1000);
  process.on('SIGTERM', () => { note('worker ends'); process.exit(0); });
`;
const REFUSING_WORKER = 'process.exit(78);';

let folder = '';
let log: string[] = [];
const running: { serve: Serve; done: Promise<void> }[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'warmlane-serve-'));
  log = [];
});
afterEach(async () => {
  for (const { serve, done } of running.splice(0)) {
    serve.stop();
    await done.catch(() => undefined);
  }
  await rm(folder, { recursive: true });
});

async function serve(
  worker: string,
  env: NodeJS.ProcessEnv = {},
  around: NodeJS.ProcessEnv = {},
): Promise<{ serve: Serve; done: Promise<void> }> {
  await writeFile(join(folder, 'api.mjs'), API);
  await writeFile(join(folder, 'worker.mjs'), worker);
  const instance = new Serve({
    settings: readSettings({ http: '127.0.0.1:0', device: 'cpu' }, env, folder),
    env: { ...process.env, EVENTS: join(folder, 'events'), ...around },
    log: (text) => log.push(text),
    logFd: 2,
    appMain: (app) => join(folder, `${app}.mjs`),
    onReady: (address) => log.push(`ready ${printAddress(address)}`),
  });
  const started = { serve: instance, done: instance.run() };
  running.push(started);
  return started;
}

async function events(): Promise<string[]> {
  return (await readFile(join(folder, 'events'), 'utf8').catch(() => '')).trim().split('\n');
}
function pidsOf(lines: string[], word: string): number[] {
  return lines.filter((line) => line.startsWith(`${word} `)).map((line) => Number(/\d{2,}/.exec(line)?.[0]));
}
const readyLines = (): string[] => log.filter((line) => line.startsWith('ready '));
const waiting = { timeout: 15_000 };

describe('serve', () => {
  it('ends at once when it is stopped while it fetches Redis, and leaves nothing half unpacked', async () => {
    const bin = join(folder, 'bin');
    await mkdir(bin);
    // A package source that does not answer.
    for (const tool of ['apt-get', 'apt-cache', 'dpkg-deb']) {
      await writeFile(join(bin, tool), '#!/bin/sh\nexec /bin/sleep 600\n', { mode: 0o755 });
    }
    const { serve: stopping, done } = await serve(WORKER, {}, { PATH: bin, XDG_CACHE_HOME: join(folder, 'cache') });
    await vi.waitFor(() => expect(log.join()).toMatch(/reading the package lists/), waiting);
    stopping.stop();
    await done;
    expect(await events()).toEqual(['']);
    const left = await readdir(join(folder, 'cache'), { recursive: true });
    expect(left.filter((name) => name.includes('.part-'))).toEqual([]);
  });

  it('brings up Redis, API and workers, says ready once, and stops API before workers before Redis', async () => {
    const started = await serve(WORKER, { WARMLANE_WORKERS: '2' });
    await vi.waitFor(() => expect(readyLines()).toHaveLength(1), waiting);
    await vi.waitFor(async () => expect(await events()).toHaveLength(3), waiting);
    const up = await events();
    expect(up.filter((line) => /^worker \d+ cpu$/.test(line))).toHaveLength(2);
    const redisUrl = up.find((line) => line.startsWith('api '))?.split(' ')[2] ?? '';
    const client = new Redis(redisUrl, { lazyConnect: true, retryStrategy: () => null });
    client.on('error', () => undefined);
    await client.connect();
    expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'yes']);
    started.serve.stop();
    await started.done;
    expect((await events()).slice(3)).toEqual(['api ends', 'worker ends', 'worker ends']);
    await expect(client.ping()).rejects.toThrow();
    client.disconnect();
  });

  it('starts an API, a worker and its own Redis again, on the same ports and with what was stored', async () => {
    await serve(WORKER);
    await vi.waitFor(() => expect(readyLines()).toHaveLength(1), waiting);
    await vi.waitFor(async () => expect(await events()).toHaveLength(2), waiting);
    const up = await events();
    const redisUrl = up.find((line) => line.startsWith('api '))?.split(' ')[2] ?? '';
    const client = new Redis(redisUrl, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    client.on('error', () => undefined);
    await client.set('kept', 'yes');
    const redisPid = Number(/process_id:(\d+)/.exec(await client.info('server'))?.[1]);
    for (const pid of [...pidsOf(up, 'api'), ...pidsOf(up, 'worker'), redisPid]) {
      process.kill(pid, 'SIGKILL');
    }
    await vi.waitFor(async () => expect(await events()).toHaveLength(4), waiting);
    expect(await client.get('kept')).toBe('yes');
    for (const name of ['api', 'worker 0', 'redis']) {
      expect(log).toContain(`${name} ended (SIGKILL), starts again in 0.2 s`);
    }
    const [address] = readyLines();
    const answer = await vi.waitFor(() => fetch(`http://${address?.slice('ready '.length)}/health/live`), waiting);
    expect(answer.status).toBe(200);
    expect(readyLines()).toHaveLength(1);
    client.disconnect();
  });

  it('uses a given Redis and leaves it running', async () => {
    await using redis = await startRedis();
    const started = await serve(WORKER, { WARMLANE_REDIS: redis.url });
    await vi.waitFor(async () => expect(await events()).toHaveLength(2), waiting);
    expect((await events()).find((line) => line.startsWith('api '))).toContain(redis.url);
    started.serve.stop();
    await started.done;
    const client = new Redis(redis.url);
    expect(await client.ping()).toBe('PONG');
    client.disconnect();
  });

  it('gives up when the worker cannot run with these settings', async () => {
    const started = await serve(REFUSING_WORKER);
    await expect(started.done).rejects.toThrow(/worker 0 cannot run with these settings/);
  });

  it('refuses a data folder that another one uses, and a port in use', async () => {
    await serve(WORKER);
    await vi.waitFor(() => expect(readyLines()).toHaveLength(1), waiting);
    const second = await serve(WORKER);
    await expect(second.done).rejects.toThrow(/in use by process \d+: stop it, or .*WARMLANE_DATA/);
    const address = readyLines()[0]?.slice('ready '.length) ?? '';
    const third = new Serve({
      settings: readSettings({ http: address, device: 'cpu' }, { WARMLANE_DATA: join(folder, 'other') }, folder),
      env: process.env,
      log: () => undefined,
      logFd: 2,
      appMain: () => '',
      onReady: () => undefined,
    });
    await expect(third.run()).rejects.toThrow(/the port is in use/);
  });

  it('ends in order though its Redis, API and worker were stopped by a signal', async () => {
    const started = await serve(WORKER);
    await vi.waitFor(() => expect(readyLines()).toHaveLength(1), waiting);
    await vi.waitFor(async () => expect(await events()).toHaveLength(2), waiting);
    const up = await events();
    const client = new Redis(up.find((line) => line.startsWith('api '))?.split(' ')[2] ?? '', {
      retryStrategy: () => null,
    });
    client.on('error', () => undefined);
    const redisPid = Number(/process_id:(\d+)/.exec(await client.info('server'))?.[1]);
    client.disconnect();
    for (const pid of [...pidsOf(up, 'api'), ...pidsOf(up, 'worker'), redisPid]) process.kill(pid, 'SIGSTOP');
    started.serve.stop();
    await started.done;
    expect((await events()).slice(2)).toEqual(['api ends', 'worker ends']);
    expect(log.filter((line) => line.includes('killed'))).toEqual([]);
  });

  it('kills what is left at the second request to stop', async () => {
    const deaf = `${WORKER.replace(/process\.on\('SIGTERM'.*/, "process.on('SIGTERM', () => note('deaf'));")}`;
    const started = await serve(deaf);
    await vi.waitFor(() => expect(readyLines()).toHaveLength(1), waiting);
    await vi.waitFor(async () => expect(await events()).toHaveLength(2), waiting);
    started.serve.stop();
    await vi.waitFor(async () => expect(await events()).toContain('deaf'), waiting);
    started.serve.stop();
    await started.done;
  });
});
