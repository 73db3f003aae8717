import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { link, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { SetupError } from '@warmlane/process';
import { makeFolder, whyFolderFails } from './make-folder.js';
import { describeProcess, isSameProcess, readNote } from './process-note.js';

/** What names the folder, for messages. */
export const DATA_SETTING = 'WARMLANE_DATA';

/** A takeover is a few reads of small files; whoever holds it for so long hangs. */
const TAKEOVER_LIMIT_MS = 5_000;
const TAKEOVER_POLL_MS = 20;

/** A held data folder: `release` lets the next one in. */
export interface DataFolderLock {
  release(): Promise<void>;
}

/**
 * Takes the data folder for this process, so that two own Redis servers never write the same append-only file.
 * A lock whose holder is gone is taken over.
 * @throws SetupError naming the folder and the process that holds it, or why the folder cannot be written to
 */
export async function lockDataFolder(folder: string): Promise<DataFolderLock> {
  await makeFolder(folder, DATA_SETTING);
  const path = join(folder, 'serve.lock');
  // Written aside and linked: whoever finds the lock finds it whole.
  const aside = join(folder, `serve.lock.${randomUUID()}`);
  try {
    await writeFile(aside, JSON.stringify(await describeProcess(process.pid)));
    const taken = (await linkOnce(aside, path)) || (await oneAtATime(path, () => takeOver(aside, path, folder)));
    if (taken) {
      return { release: () => rm(path, { force: true }) };
    }
  } catch (error) {
    throw error instanceof SetupError ? error : new SetupError(whyFolderFails(folder, error, DATA_SETTING));
  } finally {
    await rm(aside, { force: true }).catch(() => undefined);
  }
  throw new SetupError(`${path} changes hands all the time: another process is starting with the same ${DATA_SETTING}`);
}

/** False where the lock is there already. */
async function linkOnce(aside: string, path: string): Promise<boolean> {
  try {
    await link(aside, path);
    return true;
  } catch (error) {
    if (hasCode(error, 'EEXIST')) {
      return false;
    }
    throw error;
  }
}

/** Puts this process's lock in the place of one whose holder is gone. @throws SetupError where it is not gone */
async function takeOver(aside: string, path: string, folder: string): Promise<boolean> {
  const holder = await readNote(path);
  if (holder === null || !(await isSameProcess(holder))) {
    await rm(path, { force: true });
    if (await linkOnce(aside, path)) {
      return true;
    }
  }
  const living = await readNote(path);
  if (living === null) {
    return false;
  }
  throw new SetupError(
    `${folder} is in use by process ${living.pid}: stop it, or give this one its own ${DATA_SETTING} folder`,
  );
}

/**
 * Runs `work` while no other process does for the same file: two that find one stale lock would each remove what the
 * other has just put there. An abstract socket is the mutex, for the kernel frees it whatever becomes of its process.
 */
async function oneAtATime<T>(file: string, work: () => Promise<T>): Promise<T> {
  const name = `\0warmlane-takeover-${createHash('sha256').update(file).digest('hex')}`;
  const until = performance.now() + TAKEOVER_LIMIT_MS;
  for (;;) {
    const mutex = createServer();
    try {
      mutex.listen(name);
      await once(mutex, 'listening');
      return await work();
    } catch (error) {
      if (!hasCode(error, 'EADDRINUSE') || performance.now() > until) {
        throw error;
      }
    } finally {
      mutex.close();
    }
    await wait(TAKEOVER_POLL_MS);
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
