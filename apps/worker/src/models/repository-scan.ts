import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { compareVersions, isModelName, isVersion, WarmlaneError } from '@warmlane/contracts';

export interface FoundVersion {
  name: string;
  version: string;
  folder: string;
}

/**
 * The version folders of a repository, `<model>/<version>/`, by name and then lowest version first. Entries with other
 * names are not models (`README.md`, `lost+found`) and are left alone. Throws `bad-request` where the repository cannot
 * be read.
 */
export async function scanRepository(repository: string, only?: string): Promise<FoundVersion[]> {
  const models = only === undefined ? await foldersOf(repository) : [only];
  const found: FoundVersion[] = [];
  for (const name of models.filter(isModelName).sort()) {
    const folder = join(repository, name);
    const versions = (await foldersOf(folder).catch(() => [])).filter(isVersion).sort(compareVersions);
    found.push(...versions.map((version) => ({ name, version, folder: join(folder, version) })));
  }
  return found;
}

async function foldersOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch((thrown: unknown) => {
    throw new WarmlaneError(
      'bad-request',
      `the model repository ${path} cannot be read: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
      'Set WARMLANE_MODELS (--models) to a folder with <model>/<version>/model.onnx.',
    );
  });
  return entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink()).map((entry) => entry.name);
}
