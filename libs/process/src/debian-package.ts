import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { findOnPath } from './find-on-path.js';
import { runCommand } from './run-command.js';

export interface DebianUnpackOptions {
  /** Packages to unpack; their direct library dependencies come along. */
  packages: readonly string[];
  /** Where the tree ends up. Made in one rename, so a reader sees all of it or nothing. */
  target: string;
  /** PATH to find apt-get, apt-cache and dpkg-deb on. */
  path: string;
  onProgress?: (text: string) => void;
}

export type DebianUnpackResult = { ok: true } | { ok: false; reason: string };

const UPDATE_TIMEOUT_MS = 180_000;
const DOWNLOAD_TIMEOUT_MS = 180_000;
// In every system that runs dpkg; unpacking another libc beside the system's would break its loader.
const ALWAYS_THERE = new Set(['libc6', 'libgcc-s1', 'libstdc++6']);

/**
 * Unpacks Debian or Ubuntu packages without root: apt reads the system's sources but keeps lists and downloads in a
 * private folder, dpkg-deb unpacks, nothing is installed.
 */
export async function unpackDebianPackages(options: DebianUnpackOptions): Promise<DebianUnpackResult> {
  for (const tool of ['apt-get', 'apt-cache', 'dpkg-deb']) {
    if ((await findOnPath(tool, options.path)) === null) {
      return { ok: false, reason: `${tool} is not on the PATH` };
    }
  }
  await mkdir(dirname(options.target), { recursive: true });
  const work = await mkdtemp(`${options.target}.part-`);
  try {
    return await unpackInto(work, options);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function unpackInto(work: string, options: DebianUnpackOptions): Promise<DebianUnpackResult> {
  const lists = join(work, 'lists');
  const cache = join(work, 'cache');
  const debs = join(work, 'debs');
  const tree = join(work, 'tree');
  await mkdir(join(lists, 'partial'), { recursive: true });
  await mkdir(join(cache, 'archives', 'partial'), { recursive: true });
  await mkdir(debs);
  await mkdir(tree);
  const apt = [
    ['-o', `Dir::State::Lists=${lists}`],
    ['-o', `Dir::Cache=${cache}`],
    ['-o', 'Debug::NoLocking=1'],
    // As root, apt would fetch as the user _apt, who may not enter these folders.
    ['-o', 'APT::Sandbox::User='],
    ['-o', 'Acquire::Languages=none'],
  ].flat();

  options.onProgress?.('reading the package lists (apt-get update, private lists)');
  // Its status is not judged: one broken third-party source fails it although ours was read.
  const update = await runCommand('apt-get', [...apt, '-q', 'update'], { timeoutMs: UPDATE_TIMEOUT_MS });

  const depends = await runCommand('apt-cache', [...apt, 'depends', '--no-recommends', ...options.packages], {
    timeoutMs: UPDATE_TIMEOUT_MS,
  });
  if (depends.code !== 0) {
    return { ok: false, reason: `apt does not know ${options.packages.join(', ')}: ${lastLine(update.stderr)}` };
  }
  const wanted = [...new Set([...options.packages, ...libraryDependencies(depends.stdout)])];

  options.onProgress?.(`downloading ${wanted.length} packages (${wanted.join(' ')})`);
  const download = await runCommand('apt-get', [...apt, '-q', 'download', ...wanted], {
    cwd: debs,
    timeoutMs: DOWNLOAD_TIMEOUT_MS,
  });
  if (download.code !== 0) {
    return { ok: false, reason: `apt-get download failed: ${lastLine(download.stderr)}` };
  }
  for (const file of await readdir(debs)) {
    const unpacked = await runCommand('dpkg-deb', ['-x', join(debs, file), tree]);
    if (unpacked.code !== 0) {
      return { ok: false, reason: `dpkg-deb -x ${file} failed: ${lastLine(unpacked.stderr)}` };
    }
  }
  try {
    await rename(tree, options.target);
  } catch (error) {
    // Another process finished first: its tree is as good as ours.
    if (!isNotEmpty(error)) {
      throw error;
    }
  }
  return { ok: true };
}

/** The libraries among the direct dependencies that `apt-cache depends` printed. */
export function libraryDependencies(printed: string): string[] {
  const names = [...printed.matchAll(/^[ |]*(?:Pre)?Depends:\s+((?:lib|lua)[^\s<>:]*)/gm)].map(
    (match) => match[1] ?? '',
  );
  return [...new Set(names)].filter((name) => name !== '' && !ALWAYS_THERE.has(name));
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}

function isNotEmpty(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST');
}
