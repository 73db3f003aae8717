import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SetupError } from '@warmlane/process';
import { describeProcess, isSameProcess, readNote } from './process-note.js';

/** A held data folder: `release` lets the next one in. */
export interface DataFolderLock {
  release(): Promise<void>;
}

/**
 * Takes the data folder for this process, so that two own Redis servers never write the same append-only file.
 * A lock whose holder is gone is taken over.
 * @throws SetupError naming the process that holds it
 */
export async function lockDataFolder(folder: string): Promise<DataFolderLock> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'serve.lock');
  const me = await describeProcess(process.pid);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      const file = await open(path, 'wx');
      await file.writeFile(JSON.stringify(me));
      await file.close();
      return { release: () => rm(path, { force: true }) };
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) {
        throw error;
      }
      const holder = await readNote(path);
      if (holder !== null && (await isSameProcess(holder))) {
        throw new SetupError(
          `${folder} is in use by process ${holder.pid}: stop it, or give this one its own WARMLANE_DATA folder`,
        );
      }
      await rm(path, { force: true });
    }
  }
  throw new SetupError(`${path} changes hands all the time: another process is starting with the same WARMLANE_DATA`);
}
