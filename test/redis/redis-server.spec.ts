import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { startRedis, testRedisBinary } from '@warmlane/testing';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it, vi } from 'vitest';

const clients: Redis[] = [];
function connect(url: string): Redis {
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

afterEach(() => {
  for (const client of clients.splice(0)) {
    client.disconnect();
  }
});

describe('RedisServer', () => {
  it('serves on a port of its own, refuses to evict, and removes its folder at the end', async () => {
    const [one, two] = await Promise.all([startRedis(), startRedis()]);
    expect(one.port).not.toBe(two.port);
    const client = connect(one.url);
    await client.set('a', '1');
    expect(await client.get('a')).toBe('1');
    expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
    expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'no']);
    const pids = [one.pid, two.pid];
    await Promise.all([one.stop(), two.stop()]);
    await one.stop();
    expect(pids.filter(isAlive)).toEqual([]);
    await expect(access(one.dir)).rejects.toThrow();
  });

  it('keeps an append-only file over a crash, on the same port', async () => {
    await using redis = await startRedis({ persistence: 'aof' });
    const client = connect(redis.url);
    await client.set('kept', 'yes');
    await vi.waitFor(async () => expect(await client.info('persistence')).toMatch(/aof_last_write_status:ok/));
    const before = redis.pid;
    await redis.kill();
    expect(await redis.ended).toEqual({ code: null, signal: 'SIGKILL' });
    await redis.restart();
    expect(redis.pid).not.toBe(before);
    expect(await client.get('kept')).toBe('yes');
  });

  it('answers nothing while paused and goes on afterwards, and stops even when paused', async () => {
    const redis = await startRedis();
    const client = connect(redis.url);
    await client.ping();
    redis.pause();
    let answered = false;
    const reply = client.incr('n').then((value) => {
      answered = true;
      return value;
    });
    await vi.waitFor(async () => {
      const { readFile } = await import('node:fs/promises');
      expect(await readFile(`/proc/${redis.pid}/stat`, 'utf8')).toMatch(/\) T /);
    });
    expect(answered).toBe(false);
    redis.resume();
    expect(await reply).toBe(1);
    redis.pause();
    await redis.stop();
    expect(isAlive(redis.pid)).toBe(false);
  });

  it('reports its own last words when it cannot start', async () => {
    await expect(startRedis({ args: ['--no-such-setting', '1'] })).rejects.toThrow(/no-such-setting|Bad directive/);
  });

  it('dies with its parent, even one that is killed', async () => {
    const binary = await testRedisBinary();
    const source = [
      `import { RedisServer } from '@warmlane/process';`,
      `const redis = await RedisServer.start({ binary: ${JSON.stringify(binary)}, persistence: 'none' });`,
      `console.log(redis.pid);`,
      `setInterval(() => undefined, 1000);`,
    ].join('\n');
    const parent = spawn(process.execPath, ['--input-type=module', '-e', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(createInterface({ input: parent.stdout }), 'line');
    const pid = Number(line);
    expect(isAlive(pid)).toBe(true);
    parent.kill('SIGKILL');
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 5_000 });
  });
});
