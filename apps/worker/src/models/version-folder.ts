import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { WarmlaneError } from '@warmlane/contracts';
import { externalLocationsOf } from './onnx-external.js';

const MODEL_FILE = 'model.onnx';
export const CONFIG_FILE = 'warmlane.yaml';

/** One file whose bytes belong to a version, as it was when its digest was taken. */
interface FileStamp {
  /** As the ONNX file names it; {@link MODEL_FILE} itself. */
  name: string;
  path: string;
  size: number;
  mtimeMs: number;
  inode: number;
}

/** The immutable bytes of a version. */
export interface VersionFiles {
  /** The real path of model.onnx. */
  modelPath: string;
  /** SHA-256 of model.onnx, or with external data of the list of its files' SHA-256 and names. */
  digest: string;
  stamps: FileStamp[];
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && (thrown.code === 'ENOENT' || thrown.code === 'ENOTDIR');
}

function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/**
 * The real path of a file that belongs to a version. Throws `bad-request` where the name or a symbolic link leads out
 * of the folder. @returns null where there is no such file
 */
export async function insidePath(folder: string, name: string): Promise<string | null> {
  const refuse = (): never => {
    throw new WarmlaneError(
      'bad-request',
      `'${name}' leads out of the version's folder`,
      'Keep everything that belongs to a version in its own folder.',
    );
  };
  const root = await realpath(folder);
  if (name.includes('\0') || isAbsolute(name) || !isInside(root, join(root, name))) refuse();
  const path = await realpath(join(root, name)).catch((thrown: unknown) => {
    if (isMissing(thrown)) return null;
    throw thrown;
  });
  if (path !== null && !isInside(root, path)) refuse();
  return path;
}

/**
 * Finds and digests the files of a version. External data that is missing is left out: ONNX Runtime says so when the
 * model is loaded. Throws `bad-request` where model.onnx is missing or a file lies outside the folder.
 */
export async function readVersionFiles(folder: string): Promise<VersionFiles> {
  const modelPath = await insidePath(folder, MODEL_FILE);
  if (modelPath === null) {
    throw new WarmlaneError('bad-request', `${MODEL_FILE} is missing`, `Put it into ${folder}.`);
  }
  const stamps = [await stampFile(MODEL_FILE, modelPath)];
  for (const name of (await externalLocationsOf(modelPath)).sort()) {
    const path = await insidePath(folder, name);
    if (path !== null) stamps.push(await stampFile(name, path));
  }
  return { modelPath, digest: await digestFiles(stamps), stamps };
}

/** True while size, modification time and inode of every file are what they were at the digest. */
export async function isUntouched(files: VersionFiles): Promise<boolean> {
  for (const stamp of files.stamps) {
    const now = await stampFile(stamp.name, stamp.path).catch(() => null);
    if (now === null) return false;
    if (now.size !== stamp.size || now.mtimeMs !== stamp.mtimeMs || now.inode !== stamp.inode) return false;
  }
  return true;
}

/** @returns the text, or null where there is no such file */
export async function readInside(folder: string, name: string): Promise<Buffer | null> {
  const path = await insidePath(folder, name);
  return path === null ? null : readFile(path);
}

async function stampFile(name: string, path: string): Promise<FileStamp> {
  const found = await stat(path);
  if (!found.isFile()) throw new WarmlaneError('bad-request', `'${name}' is not a file`, 'Replace it by one.');
  return { name, path, size: found.size, mtimeMs: found.mtimeMs, inode: found.ino };
}

async function digestFiles(stamps: readonly FileStamp[]): Promise<string> {
  const digests: string[] = [];
  for (const stamp of stamps) digests.push(await sha256File(stamp.path));
  const [only] = digests;
  if (digests.length === 1 && only !== undefined) return only;
  const list = stamps.map((stamp, at) => `${digests[at]}  ${stamp.name}\n`).join('');
  return createHash('sha256').update(list).digest('hex');
}

async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
