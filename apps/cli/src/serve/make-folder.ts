import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SetupError } from '@warmlane/process';

/** What the kernel's codes mean for somebody who has to mend it. */
const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'a part of the path is a file',
  EEXIST: 'it is a file',
};

/**
 * One line on why a folder cannot be written to, and what to do.
 * @param setting what names the folder: `WARMLANE_DATA`
 */
export function whyFolderFails(folder: string, error: unknown, setting: string): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const said = error instanceof Error ? error.message : String(error);
  const reason = REASONS[code];
  return (
    `cannot write to ${folder}: ${reason === undefined ? said : `${reason} (${code})`}. ` +
    `Mend that, or set ${setting} to a folder that can be written to`
  );
}

/** Makes a folder with its parents. @throws SetupError as {@link whyFolderFails} */
export async function makeFolder(folder: string, setting: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw new SetupError(whyFolderFails(folder, await firstRefusal(folder, error), setting));
  }
}

/** Node says ENOENT for what a full or read-only disk refuses on the way down; the first missing part says why. */
async function firstRefusal(folder: string, error: unknown): Promise<unknown> {
  const parent = dirname(folder);
  if (parent !== folder && (await stat(parent).catch(() => null)) === null) {
    return firstRefusal(parent, error);
  }
  return mkdir(folder).then(
    () => error,
    (refusal: unknown) => refusal,
  );
}
