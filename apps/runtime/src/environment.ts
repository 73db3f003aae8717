import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** SHA-256 of the libraries that do the work: ONNX Runtime's own and its providers, by file name. */
export async function libraryDigests(libraryPath: string): Promise<Record<string, string>> {
  const folder = path.dirname(libraryPath);
  const files = [
    path.basename(libraryPath),
    ...readdirSync(folder).filter((name) => /^libonnxruntime_providers_\w+\.so$/.test(name)),
  ];
  const digests = await Promise.all(files.map((name) => digestOf(path.join(folder, name))));
  return Object.fromEntries(files.map((name, at) => [name, digests[at] ?? '']));
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Model and share of the CPU: what makes numbers of one machine hold on another. */
export function cpuEnvironment(): Record<string, string> {
  const cpus = os.cpus();
  return { cpu: cpus[0]?.model.trim() ?? 'unknown', cpus: String(cpuShare(os.availableParallelism())) };
}

/** Cores that this process may use: the quota of its cgroup (v2 or v1) where it is less than `cores`. */
function cpuShare(cores: number): number {
  const [quota, period] = readText('/sys/fs/cgroup/cpu.max')?.split(' ').map(Number) ?? [
    Number(readText('/sys/fs/cgroup/cpu/cpu.cfs_quota_us') ?? Number.NaN),
    Number(readText('/sys/fs/cgroup/cpu/cpu.cfs_period_us') ?? Number.NaN),
  ];
  const share = (quota ?? Number.NaN) / (period ?? Number.NaN);
  return share > 0 && share < cores ? share : cores;
}

/** Bytes of memory free and in all: the cgroup's where it has a limit below the machine's. */
export function hostMemory(): { free: number; total: number } {
  const total = os.totalmem();
  const limit = Number(readText('/sys/fs/cgroup/memory.max') ?? Number.NaN);
  const used = Number(readText('/sys/fs/cgroup/memory.current') ?? Number.NaN);
  if (limit > 0 && limit < total && used >= 0) return { free: Math.max(0, limit - used), total: limit };
  return { free: os.freemem(), total };
}

function readText(file: string): string | null {
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : null;
}
