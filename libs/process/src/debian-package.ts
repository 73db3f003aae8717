import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { findOnPath } from './find-on-path.js';
import { type CommandOptions, type CommandResult, runCommand } from './run-command.js';

export interface DebianUnpackOptions {
  /** Packages to unpack; their direct library dependencies come along. */
  packages: readonly string[];
  /** Where the tree ends up. Made in one rename, so a reader sees all of it or nothing. */
  target: string;
  /** PATH to find apt-get, apt-cache and dpkg-deb on. */
  path: string;
  onProgress?: (text: string) => void;
  /** Ends what runs, and nothing is left behind. */
  signal?: AbortSignal;
}

export type DebianUnpackResult = { ok: true } | { ok: false; reason: string };

const UPDATE_TIMEOUT_MS = 180_000;
const DOWNLOAD_TIMEOUT_MS = 180_000;
// In every system that runs dpkg; unpacking another libc beside the system's would break its loader.
const ALWAYS_THERE = new Set(['libc6', 'libgcc-s1', 'libstdc++6']);

const TOOLS = ['apt-get', 'apt-cache', 'dpkg-deb'] as const;

/** Where each of the tools lies. */
type Tools = Readonly<Record<(typeof TOOLS)[number], string>>;

/**
 * Unpacks Debian or Ubuntu packages without root: apt reads the system's sources but keeps lists and downloads in a
 * private folder, dpkg-deb unpacks, nothing is installed. Rejects with the signal's reason when it aborts.
 */
export async function unpackDebianPackages(options: DebianUnpackOptions): Promise<DebianUnpackResult> {
  const tools: Record<string, string> = {};
  for (const tool of TOOLS) {
    const path = await findOnPath(tool, options.path);
    if (path === null) {
      return { ok: false, reason: `${tool} is not on the PATH` };
    }
    tools[tool] = path;
  }
  await mkdir(dirname(options.target), { recursive: true });
  const work = await mkdtemp(`${options.target}.part-`);
  try {
    return await unpackInto(work, tools as Tools, options);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function unpackInto(work: string, tools: Tools, options: DebianUnpackOptions): Promise<DebianUnpackResult> {
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

  const run = async (tool: keyof Tools, args: readonly string[], over: CommandOptions = {}): Promise<CommandResult> => {
    const result = await runCommand(tools[tool], args, { ...over, signal: options.signal });
    options.signal?.throwIfAborted();
    return result;
  };

  options.onProgress?.('reading the package lists (apt-get update, private lists)');
  // Its status is not judged: one broken third-party source fails it although ours was read.
  const update = await run('apt-get', [...apt, '-q', 'update'], { timeoutMs: UPDATE_TIMEOUT_MS });

  const depends = await run('apt-cache', [...apt, 'depends', '--no-recommends', ...options.packages], {
    timeoutMs: UPDATE_TIMEOUT_MS,
  });
  if (depends.code !== 0) {
    return { ok: false, reason: `apt does not know ${options.packages.join(', ')}: ${lastLine(update.stderr)}` };
  }
  const wanted = [...new Set([...options.packages, ...libraryDependencies(depends.stdout)])];

  options.onProgress?.(`downloading ${wanted.length} packages (${wanted.join(' ')})`);
  const download = await run('apt-get', [...apt, '-q', 'download', ...wanted], {
    cwd: debs,
    timeoutMs: DOWNLOAD_TIMEOUT_MS,
  });
  if (download.code !== 0) {
    return { ok: false, reason: `apt-get download failed: ${lastLine(download.stderr)}` };
  }
  for (const file of await readdir(debs)) {
    const unpacked = await run('dpkg-deb', ['-x', join(debs, file), tree]);
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
