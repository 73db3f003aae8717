import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** Root of the repository, from `bench/dist/support/`. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export type Row = Record<string, string | number | boolean | null>;

export interface BenchResult {
  name: string;
  /** `cpu`, or the card's short name: it stands in the file's name. */
  device: string;
  rows: Row[];
  figures: Record<string, number | Record<string, number>>;
}

/** Writes `bench/results/NAME.DEVICE.json` with the versions and the commit it was measured on, and prints it. */
export async function writeResult(result: BenchResult, moreVersions: Record<string, string> = {}): Promise<void> {
  const { name, device, rows, figures } = result;
  const versions = { ...(await knownVersions()), ...moreVersions };
  const text = JSON.stringify(
    { name, device, versions, commit: await commit(), date: new Date().toISOString(), rows, figures },
    null,
    2,
  );
  const folder = `${ROOT}bench/results`;
  await mkdir(folder, { recursive: true });
  await writeFile(`${folder}/${name}.${device}.json`, `${text}\n`);
  process.stdout.write(`${text}\n`);
}

async function knownVersions(): Promise<Record<string, string>> {
  const version = async (path: string): Promise<string> => {
    const parsed: unknown = JSON.parse(await readFile(`${ROOT}${path}/package.json`, 'utf8'));
    return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown';
  };
  const [warmlane, bullmq, onnxruntime] = await Promise.all(
    ['.', 'node_modules/bullmq', 'node_modules/onnxruntime-node'].map(version),
  );
  return {
    warmlane: warmlane ?? '',
    node: process.version,
    bullmq: bullmq ?? '',
    onnxruntime: onnxruntime ?? '',
    cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
  };
}

/** The commit measured; `+` behind it says that the tree had changes. COMMIT names it on a machine without git. */
async function commit(): Promise<string> {
  if (process.env.COMMIT !== undefined) return process.env.COMMIT;
  const git = async (...args: string[]) => (await promisify(execFile)('git', args, { cwd: ROOT })).stdout.trim();
  const changed = await git('status', '--porcelain', '--', 'apps', 'libs', 'bench/src');
  return `${await git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : '+'}`;
}

/** Nearest-rank percentile of unsorted values; NaN for none. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((p / 100) * sorted.length) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

export function round(value: number, digits = 2): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
