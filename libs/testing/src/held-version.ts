import { type ModelConfig, type ModelMetadata, modelConfigSchema } from '@warmlane/contracts';

/** A version as a worker holds it, without files: one float32 input `x` of any length. */
export interface HeldVersionStandIn {
  name: string;
  version: string;
  folder: string;
  files: { modelPath: string; digest: string; stamps: [] };
  config: ModelConfig;
  metadata: ModelMetadata;
  sampleFiles: Map<string, never>;
  refusal: null;
}

export function heldVersion(): HeldVersionStandIn {
  return {
    name: 'm',
    version: '1',
    folder: '/m/1',
    files: { modelPath: '/m/1/model.onnx', digest: 'd', stamps: [] },
    config: modelConfigSchema.parse({}),
    metadata: { inputs: [{ name: 'x', dtype: 'float32', dims: ['N'] }], outputs: [] },
    sampleFiles: new Map<string, never>(),
    refusal: null,
  };
}
