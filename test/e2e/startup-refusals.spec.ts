import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from '@warmlane/process';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const CLI = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));
const SERVE = [CLI, 'serve', '--http', '127.0.0.1:0', '--device', 'cpu'];
const NAMESPACE = ['--user', '--map-root-user', '--mount'];
const mounts = (await runCommand('unshare', [...NAMESPACE, 'true'], { timeoutMs: 5_000 })).code === 0;
const waiting = { timeout: 60_000, interval: 100 };

let folder = '';
const pids: number[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'warmlane-refusals-'));
  await mkdir(join(folder, 'models'));
  await mkdir(join(folder, 'data'));
});
afterEach(async () => {
  for (const pid of pids.splice(0)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself.
    }
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
});

interface Run {
  pid: number;
  ended: Promise<{ code: number | null; stderr: string }>;
  stdout: () => string;
  stop: () => void;
}

function run(command: string, args: readonly string[], env: Record<string, string> = {}): Run {
  const child = spawn(command, args, {
    cwd: folder,
    env: { ...process.env, WARMLANE_DATA: join(folder, 'data'), WARMLANE_LOG_LEVEL: 'warn', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const pid = child.pid ?? 0;
  pids.push(pid);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  const ended = once(child, 'close').then(([code]) => ({ code: Number(code), stderr }));
  return { pid, ended, stdout: () => stdout, stop: () => void child.kill('SIGTERM') };
}

describe('warmlane serve refuses', () => {
  it.skipIf(!mounts).each([
    ['a full disk', 'size=64k,nr_inodes=1', 'the disk is full (ENOSPC)'],
    ['a read-only disk', 'ro', 'the file system is read-only (EROFS)'],
  ])('%s in one line [needs mount]', async (_name, options, reason) => {
    const data = join(folder, 'data');
    const script = `mount -t tmpfs -o ${options} none '${data}' && exec "$@"`;
    const serve = run('unshare', [...NAMESPACE, 'sh', '-c', script, 'sh', process.execPath, ...SERVE], {
      WARMLANE_DATA: join(data, 'below'),
    });
    expect(await serve.ended).toEqual({
      code: 1,
      stderr:
        `warmlane: cannot write to ${join(data, 'below')}: ${reason}. ` +
        'Mend that, or set WARMLANE_DATA to a folder that can be written to\n',
    });
  });

  it.skipIf(!mounts)('a disk on which its Redis has no room, with the words of Redis [needs mount]', async () => {
    const script = `mount -t tmpfs -o size=4k none '${join(folder, 'data')}' && exec "$@"`;
    const serve = run('unshare', [...NAMESPACE, 'sh', '-c', script, 'sh', process.execPath, ...SERVE]);
    const { code, stderr } = await serve.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^warmlane: \S*redis-server did not start .*\/data\/redis .*No space left on device.* Make room there/m,
    );
    expect(stderr).not.toContain('    at ');
  });

  it('a second one on the same data folder at once, and the first goes on', async () => {
    const first = run(process.execPath, SERVE);
    const url = await vi.waitUntil(() => /^warmlane ready (\S+)\n/.exec(first.stdout())?.[1], waiting);
    const second = await run(process.execPath, SERVE).ended;
    expect(second).toEqual({
      code: 1,
      stderr:
        `warmlane: ${join(folder, 'data')} is in use by process ${first.pid}: ` +
        'stop it, or give this one its own WARMLANE_DATA folder\n',
    });
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    first.stop();
    expect((await first.ended).code).toBe(0);
  });

  it.each(['serve', 'api', 'worker'])('%s with models that are not there', async (command) => {
    const missing = join(folder, 'no-models');
    const args = [CLI, command, '--models', missing, '--redis', 'redis://127.0.0.1:1'];
    expect(await run(process.execPath, args).ended).toEqual({
      code: 1,
      stderr:
        `warmlane: --models (WARMLANE_MODELS) ${missing} does not exist: ` +
        'name the folder that holds <model>/<version>/model.onnx\n',
    });
  });
});
