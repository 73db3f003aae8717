import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SetupError } from '@warmlane/process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockDataFolder } from './data-folder.js';
import { describeProcess } from './process-note.js';

let folder = '';
let child: ChildProcess | null = null;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'warmlane-data-'));
});
afterEach(async () => {
  child?.kill('SIGKILL');
  child = null;
  await rm(folder, { recursive: true, force: true });
});

/** A lock as another process leaves it that still runs. */
async function lockOfOther(): Promise<ChildProcess> {
  child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  await writeFile(join(folder, 'serve.lock'), JSON.stringify(await describeProcess(child.pid ?? 0)));
  return child;
}

describe('lockDataFolder', () => {
  it('names the folder and the process that holds it', async () => {
    const other = await lockOfOther();
    await expect(lockDataFolder(folder)).rejects.toThrow(SetupError);
    await expect(lockDataFolder(folder)).rejects.toThrow(`${folder} is in use by process ${other.pid}: stop it, or`);
    expect(await readdir(folder)).toEqual(['serve.lock']);
  });

  it('takes over from a process that was killed, and lets the next one in at the end', async () => {
    const other = await lockOfOther();
    other.kill('SIGKILL');
    await once(other, 'exit');
    const lock = await lockDataFolder(folder);
    await expect(lockDataFolder(folder)).rejects.toThrow(`process ${process.pid}`);
    await lock.release();
    expect(await readdir(folder)).toEqual([]);
    await (await lockDataFolder(folder)).release();
  });

  it.each(['', '{"pid":'])('takes over a lock that was cut off: %j', async (text) => {
    await writeFile(join(folder, 'serve.lock'), text);
    await (await lockDataFolder(folder)).release();
  });

  it('lets one of many in that start at once', async () => {
    await writeFile(join(folder, 'serve.lock'), JSON.stringify({ pid: 4_194_304, startTicks: '1' }));
    const starts = await Promise.allSettled(Array.from({ length: 20 }, () => lockDataFolder(folder)));
    expect(starts.filter((start) => start.status === 'fulfilled')).toHaveLength(1);
    for (const start of starts) {
      if (start.status === 'rejected') {
        expect(String(start.reason)).toContain(`in use by process ${process.pid}`);
      }
    }
    expect(await readdir(folder)).toEqual(['serve.lock']);
  });

  it.each([
    ['file', 'it is a file (EEXIST)'],
    ['file/below/deep', 'a part of the path is a file (ENOTDIR)'],
  ])('says in one line why %s cannot be used', async (path, reason) => {
    await writeFile(join(folder, 'file'), '');
    const failed = lockDataFolder(join(folder, path));
    await expect(failed).rejects.toThrow(SetupError);
    await expect(failed).rejects.toThrow(
      `cannot write to ${join(folder, path)}: ${reason}. Mend that, or set WARMLANE_DATA to a folder`,
    );
  });
});
