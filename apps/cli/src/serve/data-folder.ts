import { randomUUID } from 'node:crypto';
import { link, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SetupError } from '@warmlane/process';
import { makeFolder, whyFolderFails } from './make-folder.js';
import { describeProcess, isSameProcess, type ProcessNote, readNote } from './process-note.js';

/** What names the folder, for messages. */
export const DATA_SETTING = 'WARMLANE_DATA';

/** Each try ends with the lock, with its living holder, or with one more stale lock cleared away. */
const TRIES = 5;

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
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      if (await linkOnce(aside, path)) {
        return { release: () => rm(path, { force: true }) };
      }
      const holder = await readNote(path);
      if (holder !== null && (await isSameProcess(holder))) {
        throw new SetupError(
          `${folder} is in use by process ${holder.pid}: stop it, or give this one its own ${DATA_SETTING} folder`,
        );
      }
      await clearStale(path, holder);
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

/** Moves the lock of a process that is gone out of the way, unless somebody else has done so and taken the folder. */
async function clearStale(path: string, stale: ProcessNote | null): Promise<void> {
  const moved = `${path}.${randomUUID()}`;
  try {
    await rename(path, moved);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) {
      return;
    }
    throw error;
  }
  const note = await readNote(moved);
  if (note?.pid !== stale?.pid || note?.startTicks !== stale?.startTicks) {
    await linkOnce(moved, path);
  }
  await rm(moved, { force: true });
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
