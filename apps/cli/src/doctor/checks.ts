import { readFile, statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import {
  cacheFolder,
  findNvidiaDevices,
  findOnPath,
  findRedisServer,
  type NvidiaDevice,
  runCommand,
} from '@warmlane/process';
import { explainMissing } from '../setup/missing-libraries.js';
import type { OrtProbe } from './ort-probe.schema.js';
import { probeOrt } from './probe-ort.js';

/** One thing looked at. A `needed` one that is not `ok` makes the doctor fail. */
export interface Check {
  name: string;
  ok: boolean;
  needed: boolean;
  /** What was found. */
  found: string;
  /** What to do; empty where it is ok. */
  hint: string;
}

export interface Diagnosis {
  ok: boolean;
  /** Providers that ONNX Runtime here was built with. */
  providers: string[];
  /** Libraries that the CUDA provider misses, by exact name. */
  missingLibraries: string[];
  devices: NvidiaDevice[];
  checks: Check[];
}

const MIB = 2 ** 20;
const OLDEST_NODE = [20, 19] as const;
// About 200 connections a worker with 200 classes, and as many for clients, with room.
const ENOUGH_FILES = 1_024;
const ENOUGH_SHM_BYTES = 64 * MIB;

/** Looks at everything that Warmlane needs of a machine. */
export async function diagnose(env: NodeJS.ProcessEnv): Promise<Diagnosis> {
  const libDir = env.ORT_LIB_DIR === '' ? undefined : env.ORT_LIB_DIR;
  const [ort, devices] = await Promise.all([probeOrt(libDir), findNvidiaDevices()]);
  const checks = [
    checkNode(process.versions.node),
    await checkNpm(),
    await checkRedis(env),
    checkOrt(ort),
    checkDevice(devices),
    checkCuda(ort, devices),
    await checkSharedMemory(),
    checkOpenFiles(await readFile('/proc/self/limits', 'utf8').catch(() => '')),
    await checkApt(env),
  ];
  return {
    ok: checks.every((check) => check.ok || !check.needed),
    providers: ort.builtProviders,
    missingLibraries: ort.cuda.missing,
    devices,
    checks,
  };
}

export function checkNode(version: string): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const ok = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
  const hint = ok ? '' : `install Node ${OLDEST_NODE.join('.')} or newer (24 is recommended)`;
  return { name: 'node', ok, needed: true, found: version, hint };
}

async function checkNpm(): Promise<Check> {
  const npm = await runCommand('npm', ['--version'], { timeoutMs: 20_000 });
  const ok = npm.code === 0;
  const hint = ok ? '' : 'install npm (it comes with Node) to install and update packages';
  return { name: 'npm', ok, needed: true, found: ok ? npm.stdout.trim() : 'not on the PATH', hint };
}

async function checkRedis(env: NodeJS.ProcessEnv): Promise<Check> {
  const name = 'redis';
  if (env.WARMLANE_REDIS) {
    return { name, ok: true, needed: true, found: 'WARMLANE_REDIS names one', hint: '' };
  }
  const cacheDir = cacheFolder(env.XDG_CACHE_HOME, homedir());
  try {
    const redis = await findRedisServer({ path: env.PATH ?? '', cacheDir, mayDownload: false });
    const how = redis.source === 'path' ? 'installed' : "unpacked from the system's package";
    return {
      name,
      ok: true,
      needed: true,
      found: `${redis.name} ${redis.version}, ${how}: ${redis.command}`,
      hint: '',
    };
  } catch (error) {
    const canUnpack = (await checkApt(env)).ok;
    const found = canUnpack ? 'none yet: the first start unpacks the Debian package into the cache' : 'none';
    const hint = canUnpack ? '' : error instanceof Error ? error.message : String(error);
    return { name, ok: canUnpack, needed: true, found, hint };
  }
}

function checkOrt(ort: OrtProbe): Check {
  const ok = ort.version !== null;
  const found = ok ? `${ort.version}: ${ort.libraryPath}` : ort.reason;
  const hint = ok ? '' : 'run npm ci, or set ORT_LIB_DIR to the folder that holds libonnxruntime.so.1';
  return { name: 'onnxruntime', ok, needed: true, found, hint };
}

function checkDevice(devices: readonly NvidiaDevice[]): Check {
  const found = devices
    .map((device) => `cuda:${device.index} ${device.name ?? 'NVIDIA device'} ${device.uuid ?? ''}`.trim())
    .join(', ');
  return { name: 'device', ok: true, needed: false, found: found || 'no NVIDIA device: the CPU is used', hint: '' };
}

export function checkCuda(ort: OrtProbe, devices: readonly NvidiaDevice[]): Check {
  const { loadable, reason, libraryPath } = ort.cuda;
  const needed = devices.length > 0;
  const missing = explainMissing(ort.cuda.missing.filter((library) => !/^libonnxruntime/.test(library)));
  const install = missing.length === 0 ? 'install what is named' : missing.join('; ');
  const hint = loadable || !needed ? '' : `${install}, or run on the CPU: --device cpu`;
  const absent = needed ? reason : 'does not load; needed only with an NVIDIA device';
  return { name: 'cuda provider', ok: loadable, needed, found: loadable ? (libraryPath ?? '') : absent, hint };
}

async function checkSharedMemory(): Promise<Check> {
  const stat = await statfs('/dev/shm').catch(() => null);
  const bytes = stat === null ? 0 : stat.blocks * stat.bsize;
  const ok = bytes >= ENOUGH_SHM_BYTES;
  const hint = ok ? '' : 'give the container more (docker run --shm-size=1g)';
  return { name: '/dev/shm', ok, needed: false, found: `${Math.round(bytes / MIB)} MiB`, hint };
}

/** @param limits the text of /proc/self/limits */
export function checkOpenFiles(limits: string): Check {
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1] ?? 'unknown';
  const ok = soft === 'unlimited' || soft === 'unknown' || Number(soft) >= ENOUGH_FILES;
  const hint = ok ? '' : `raise it (ulimit -n ${ENOUGH_FILES}): each shape class takes a connection to Redis`;
  return { name: 'open files', ok, needed: false, found: soft, hint };
}

async function checkApt(env: NodeJS.ProcessEnv): Promise<Check> {
  const found = await findOnPath('apt-get', env.PATH ?? '');
  const hint = found === null ? 'a Redis server must be installed by other means' : '';
  return { name: 'apt', ok: found !== null, needed: false, found: found ?? 'not on the PATH', hint };
}
