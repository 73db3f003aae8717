import { Inject, Injectable } from '@nestjs/common';
import {
  type ModelConfig,
  type ModelMetadata,
  parseOptionsByProvider,
  servingRulesOf,
  WarmlaneError,
} from '@warmlane/contracts';
import { declaredPlan, padFill } from '@warmlane/lanes';
import { LIMITS } from '../limits.js';
import { isProcessDeath, REFERENCE, type ReferencePort } from '../ports.js';
import type { HeldVersion } from './held-version.js';
import { EMPTY_CONFIG, readModelConfig } from './model-yaml.js';
import type { FoundVersion } from './repository-scan.js';
import { readSampleFiles } from './sample-files.js';
import { insidePath, isUntouched, readVersionFiles } from './version-folder.js';

export type LoadResult =
  | { ok: true; held: HeldVersion }
  /** `digest`: null where the files could not even be read. */
  | { ok: false; reason: string; digest: string | null; config: ModelConfig };

/** Reads a version's folder and has ONNX Runtime load its model in the reference process. */
@Injectable()
export class ModelLoader {
  constructor(@Inject(REFERENCE) private readonly reference: ReferencePort) {}

  /**
   * Never rejects for what is wrong with the version: that is a result, with the reason to show.
   * @param known the version as it was loaded before: files that are untouched since are neither digested nor loaded again
   */
  async load(repository: string, found: FoundVersion, known: HeldVersion | null): Promise<LoadResult> {
    let digest: string | null = null;
    let config = EMPTY_CONFIG;
    try {
      const folder = await this.folderOf(repository, found);
      const same = known !== null && known.folder === folder && (await isUntouched(known.files));
      const files = same ? known.files : await readVersionFiles(folder);
      digest = files.digest;
      config = await readModelConfig(folder);
      parseOptionsByProvider(config.options);
      const sampleFiles = await readSampleFiles(folder, config.inputs);
      const metadata = same ? known.metadata : await this.metadataOf(files.modelPath, digest);
      const held = { ...found, folder, files, config, metadata, sampleFiles, refusal: null };
      checkAgainstModel(held);
      return { ok: true, held };
    } catch (thrown) {
      return { ok: false, reason: reasonOf(thrown), digest, config };
    }
  }

  private metadataOf(path: string, digest: string): Promise<ModelMetadata> {
    return this.reference.call('model.load', { path, digest }, { timeoutMs: LIMITS.load });
  }

  private async folderOf(repository: string, found: FoundVersion): Promise<string> {
    const folder = await insidePath(repository, `${found.name}/${found.version}`);
    if (folder === null) {
      throw new WarmlaneError('bad-request', `${found.folder} is gone`, 'Put the version back and load it again.');
    }
    return folder;
  }
}

/** What the configuration says about inputs and shapes must fit the model. */
function checkAgainstModel(held: HeldVersion): void {
  const names = held.metadata.inputs.map((input) => input.name);
  for (const name of Object.keys(held.config.inputs)) {
    if (names.includes(name)) continue;
    throw new WarmlaneError('bad-request', `inputs: the model has no input '${name}'`, `It has ${names.join(', ')}.`);
  }
  const { pad } = servingRulesOf(held.metadata, held.config);
  if (pad !== null) padFill(pad, held.metadata.inputs);
  declaredPlan(held.metadata, held.config);
}

function reasonOf(thrown: unknown): string {
  const death = isProcessDeath(thrown);
  if (death !== null) return `the reference process ended while it loaded the model: ${death.reason}`;
  const { code, message, hint } = WarmlaneError.from(thrown);
  const text = hint === '' ? message : `${message.replace(/\.+$/, '')}. ${hint}`;
  return code === 'not-supported' ? `not-supported: ${text}` : text;
}
