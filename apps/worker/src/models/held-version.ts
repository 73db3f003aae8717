import type { ModelConfig, ModelMetadata } from '@warmlane/contracts';
import type { SampleSource } from '@warmlane/lanes';
import type { VersionFiles } from './version-folder.js';

/** A model version that this worker has read and ONNX Runtime has loaded once. */
export interface HeldVersion {
  name: string;
  version: string;
  folder: string;
  files: VersionFiles;
  config: ModelConfig;
  metadata: ModelMetadata;
  sampleFiles: SampleSource['files'];
  /** Why no lane of it may be made here, though it loads: its bytes are not the registered ones. */
  refusal: string | null;
}

/** `rec/3`: how a version is named in the worker's document and in logs. */
export function versionName(of: { name: string; version: string }): string {
  return `${of.name}/${of.version}`;
}

/** Inputs and outputs whose elements have no fixed size: no buffer can be bound for them. */
export function stringValues(metadata: ModelMetadata): string[] {
  return [...metadata.inputs, ...metadata.outputs].filter((info) => info.dtype === 'string').map((info) => info.name);
}
