import { type ModelConfig, modelConfigSchema, parseSize, WarmlaneError } from '@warmlane/contracts';
import { parse, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { CONFIG_FILE, readInside } from './version-folder.js';

/** A model without a yaml: every default, an empty plan. */
export const EMPTY_CONFIG: ModelConfig = modelConfigSchema.parse({});

/** Reads and checks a version's warmlane.yaml. Throws `bad-request` or `not-supported` that name the key. */
export async function readModelConfig(folder: string): Promise<ModelConfig> {
  const file = await readInside(folder, CONFIG_FILE);
  return file === null ? EMPTY_CONFIG : parseModelConfig(file.toString('utf8'));
}

export function parseModelConfig(text: string): ModelConfig {
  let value: unknown;
  try {
    value = parse(text);
  } catch (thrown) {
    if (!(thrown instanceof YAMLParseError)) throw thrown;
    throw new WarmlaneError('bad-request', `${CONFIG_FILE}: ${thrown.message}`, 'Correct it and load the model again.');
  }
  const parsed = modelConfigSchema.safeParse(value ?? {});
  if (!parsed.success) {
    throw new WarmlaneError(
      'bad-request',
      `${CONFIG_FILE}: ${z.prettifyError(parsed.error)}`,
      'Correct it and load the model again.',
    );
  }
  const config = parsed.data;
  if (config.memory !== undefined && parseSize(config.memory) === 0) {
    throw new WarmlaneError('bad-request', `${CONFIG_FILE}: memory is 0`, 'Leave it out for no cap.');
  }
  return config;
}
