import { access, readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { unpackDebianPackages } from './debian-package.js';
import { findOnPath } from './find-on-path.js';
import { runCommand } from './run-command.js';
import { SetupError } from './setup.error.js';

export interface RedisBinary {
  /** Absolute path of redis-server or valkey-server. */
  command: string;
  /** What must be in its LD_LIBRARY_PATH; empty for an installed one. */
  libraryPath: string;
  /** `path`: installed; `unpacked`: the Debian package in our cache folder. */
  source: 'path' | 'unpacked';
  name: 'redis-server' | 'valkey-server';
  version: string;
}

export interface RedisFinderOptions {
  /** The PATH to search. */
  path: string;
  /** Where an unpacked package is kept between runs. */
  cacheDir: string;
  /** False: only look, never download. Default true. */
  mayDownload?: boolean;
  onProgress?: (text: string) => void;
  /** Gives up a download. */
  signal?: AbortSignal;
}

const SERVERS = ['redis-server', 'valkey-server'] as const;
// BullMQ refuses Redis below 5.0 and warns below 6.2.
const OLDEST: readonly [number, number] = [6, 2];
const VERSION_TIMEOUT_MS = 10_000;

/**
 * A Redis server that runs here: installed, or unpacked earlier, or unpacked now from the Debian package (no root).
 * @throws SetupError naming the command that installs one, or the reason of `signal`
 */
export async function findRedisServer(options: RedisFinderOptions): Promise<RedisBinary> {
  const notes: string[] = [];
  for (const name of SERVERS) {
    const command = await findOnPath(name, options.path);
    if (command !== null) {
      const binary = await probe(name, command, '', 'path');
      if (typeof binary !== 'string') {
        return binary;
      }
      notes.push(binary);
    }
  }
  for (const name of SERVERS) {
    const binary = await probeUnpacked(name, options.cacheDir);
    if (typeof binary !== 'string') {
      return binary;
    }
  }
  if (options.mayDownload ?? true) {
    for (const name of SERVERS) {
      const tools = name.replace('server', 'tools');
      // What is still there does not start (above): a tree from another release of the system, say.
      await rm(treeOf(name, options.cacheDir), { recursive: true, force: true });
      const unpacked = await unpackDebianPackages({
        packages: [name, tools],
        target: treeOf(name, options.cacheDir),
        path: options.path,
        onProgress: options.onProgress,
        signal: options.signal,
      });
      const binary = unpacked.ok ? await probeUnpacked(name, options.cacheDir) : unpacked.reason;
      if (typeof binary !== 'string') {
        return binary;
      }
      notes.push(binary);
    }
  }
  throw new SetupError(
    `No Redis server found (${[...new Set(notes)].join('; ') || 'none on the PATH'}). ` +
      `Install one (Debian, Ubuntu: sudo apt-get install redis-server; macOS: brew install redis), ` +
      `or name a running one: --redis redis://HOST:PORT`,
  );
}

/** `Redis server v=7.0.15 sha=...` or `Valkey server v=8.0.1 ...`: the version, or null. */
export function parseServerVersion(printed: string): string | null {
  return /\bserver v=(\d+\.\d+\.\d+)/.exec(printed)?.[1] ?? null;
}

/** Whether BullMQ works on this version without a warning. */
export function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

function treeOf(name: string, cacheDir: string): string {
  return join(cacheDir, `${name}-unpacked`);
}

async function probeUnpacked(name: RedisBinary['name'], cacheDir: string): Promise<RedisBinary | string> {
  const tree = treeOf(name, cacheDir);
  const command = join(tree, 'usr', 'bin', name);
  try {
    await access(command);
  } catch {
    return `${name} is not unpacked in ${cacheDir}`;
  }
  return probe(name, command, await libraryFolders(tree), 'unpacked');
}

async function libraryFolders(tree: string): Promise<string> {
  const folders = new Set<string>();
  for (const entry of await readdir(tree, { recursive: true })) {
    if (/\.so(\.\d+)*$/.test(entry)) {
      folders.add(join(tree, dirname(entry)));
    }
  }
  return [...folders].sort().join(':');
}

async function probe(
  name: RedisBinary['name'],
  command: string,
  libraryPath: string,
  source: RedisBinary['source'],
): Promise<RedisBinary | string> {
  const result = await runCommand(command, ['--version'], {
    // One on the PATH may need the library path that the environment names.
    env: libraryPath === '' ? undefined : { LD_LIBRARY_PATH: libraryPath },
    timeoutMs: VERSION_TIMEOUT_MS,
  });
  const version = parseServerVersion(result.stdout);
  if (version === null) {
    return `${command} does not start: ${result.stderr.trim().split('\n').at(-1) ?? ''}`;
  }
  if (!isNewEnough(version)) {
    return `${command} is version ${version}, older than ${OLDEST.join('.')}`;
  }
  return { command, libraryPath, source, name, version };
}
