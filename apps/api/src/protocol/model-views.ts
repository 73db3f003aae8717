import { compareVersions, type DType, datatypeOf, type ModelDoc, type ValueInfo } from '@warmlane/contracts';

const PLATFORM = 'onnxruntime_onnx';

/** Sizes of the protocol: what is not fixed is -1, whatever its name. */
function shapeOf(info: ValueInfo): number[] {
  return info.dims.map((dim) => (typeof dim === 'number' ? dim : -1));
}

interface TensorMetadata {
  name: string;
  datatype: string;
  shape: number[];
}

const tensorMetadata = (info: ValueInfo): TensorMetadata => ({
  name: info.name,
  datatype: datatypeOf(info.dtype),
  shape: shapeOf(info),
});

/** `GET /v2/models/{m}`; `versions` are those of the name that are loaded. */
export function metadataView(doc: ModelDoc, versions: readonly string[]) {
  return {
    name: doc.name,
    versions: [...versions].sort(compareVersions),
    platform: PLATFORM,
    inputs: (doc.metadata?.inputs ?? []).map(tensorMetadata),
    outputs: (doc.metadata?.outputs ?? []).map(tensorMetadata),
  };
}

/** Triton's names of the datatypes in a model configuration: `TYPE_FP32`, and `TYPE_STRING` for BYTES. */
function configType(dtype: DType): string {
  return dtype === 'string' ? 'TYPE_STRING' : `TYPE_${datatypeOf(dtype)}`;
}

const tensorConfig = (info: ValueInfo) => ({
  name: info.name,
  data_type: configType(info.dtype),
  dims: shapeOf(info),
});

/** `GET /v2/models/{m}/config`. max_batch_size 0: shapes hold all their dimensions. */
export function configView(doc: ModelDoc, planned: readonly string[]) {
  return {
    name: doc.name,
    platform: PLATFORM,
    backend: 'onnxruntime',
    version_policy: { latest: { num_versions: 1 } },
    max_batch_size: 0,
    input: (doc.metadata?.inputs ?? []).map(tensorConfig),
    output: (doc.metadata?.outputs ?? []).map(tensorConfig),
    default_model_filename: 'model.onnx',
    parameters: {
      provider: { string_value: [doc.config.provider].flat().join(',') },
      warm_plan: { string_value: planned.join(' ') },
    },
  };
}

/** One entry of `POST /v2/repository/index`. */
export function indexEntry(doc: ModelDoc) {
  const states = { LOADED: 'READY', LOADING: 'LOADING', FAILED: 'UNAVAILABLE', UNLOADED: 'UNAVAILABLE' } as const;
  const reason = doc.state === 'UNLOADED' && doc.reason === '' ? 'unloaded' : doc.reason;
  return {
    name: doc.name,
    version: doc.version,
    state: states[doc.state],
    reason: doc.state === 'LOADED' ? '' : reason,
  };
}
