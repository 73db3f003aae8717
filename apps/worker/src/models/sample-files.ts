import { createHash } from 'node:crypto';
import { type ModelConfig, WarmlaneError } from '@warmlane/contracts';
import { readNpy, type SampleSource } from '@warmlane/lanes';
import { readInside } from './version-folder.js';

/** Reads the .npy files that a version's `inputs` name. Throws `bad-request` that names the input and the file. */
export async function readSampleFiles(folder: string, inputs: ModelConfig['inputs']): Promise<SampleSource['files']> {
  const files = new Map<string, { array: ReturnType<typeof readNpy>; sha256: string }>();
  for (const [input, how] of Object.entries(inputs)) {
    if (!('file' in how) || files.has(how.file)) continue;
    const what = `inputs: '${input}': ${how.file}`;
    const bytes = await readInside(folder, how.file);
    if (bytes === null) {
      throw new WarmlaneError('bad-request', `${what} is missing`, 'The path is relative to the version folder.');
    }
    files.set(how.file, { array: readNpy(bytes, what), sha256: createHash('sha256').update(bytes).digest('hex') });
  }
  return files;
}
