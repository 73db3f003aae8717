import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findOnPath, findRedisServer, RedisServer } from '@warmlane/process';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'warmlane-finder-'));
  await mkdir(join(folder, 'bin'));
  for (const tool of ['apt-get', 'apt-cache', 'dpkg-deb']) {
    const path = await findOnPath(tool, process.env.PATH ?? '');
    if (path !== null) {
      await symlink(path, join(folder, 'bin', tool));
    }
  }
});
afterAll(() => rm(folder, { recursive: true }));

describe('a machine without a Redis on its PATH', () => {
  it('unpacks the Debian package once, and what it unpacked runs the queue library’s Lua', {
    timeout: 240_000,
  }, async () => {
    const options = { path: join(folder, 'bin'), cacheDir: join(folder, 'cache') };
    const progress: string[] = [];
    const first = await findRedisServer({ ...options, onProgress: (text) => progress.push(text) });
    expect(first.source).toBe('unpacked');
    expect(first.command.startsWith(options.cacheDir)).toBe(true);
    expect(progress.join()).toMatch(/package lists.*downloading/);

    const again = await findRedisServer({ ...options, mayDownload: false });
    expect(again).toEqual(first);

    await using server = await RedisServer.start({ binary: first, persistence: 'none' });
    const client = new Redis(server.url);
    expect(await client.eval("return cjson.encode({1}) .. #cmsgpack.pack('a')", 0)).toBe('[1]2');
    client.disconnect();
  });
});
