import type { ParsedOptions, ProviderName } from '@warmlane/contracts';
import { check, type OrtApi, textAt } from '../native/api.js';
import type { SessionOptionsHandle } from '../native/handle.js';
import { type CudaOptionsHandle, filled, Handle, type Out, type Pointer } from '../native/handle.js';
import { OrtError } from '../native/ort-error.js';
import { defaultAllocator } from '../native/value.js';

/** ExecutionMode and GraphOptimizationLevel of onnxruntime_c_api.h. */
const EXECUTION_MODES: Record<string, number> = { ORT_SEQUENTIAL: 0, ORT_PARALLEL: 1 };
const OPTIMIZATION_LEVELS: Record<string, number> = {
  ORT_DISABLE_ALL: 0,
  ORT_ENABLE_BASIC: 1,
  ORT_ENABLE_EXTENDED: 2,
  ORT_ENABLE_LAYOUT: 3,
  ORT_ENABLE_ALL: 99,
};

export interface NativeOptionsSpec {
  provider: ProviderName;
  options: ParsedOptions;
  /** CUDA's number of the device. */
  device: number;
  /** Sizes of symbolic dimensions, by name. */
  freeDimensions: Readonly<Record<string, number>>;
  /** Session config entries of Warmlane's own. */
  config: Readonly<Record<string, string>>;
  /** Where the optimised model is written at creation. */
  optimizedModelPath?: string;
  /** Values that stand in for the model's initialisers, by name; they must outlive the session. */
  initializers?: ReadonlyMap<string, { pointer: Pointer<'Value'> }>;
}

export interface NativeOptions {
  handle: SessionOptionsHandle;
  /** Every given option as the library gives it back, or as it was set where it has no getter. */
  parsed: Record<string, string>;
}

type Setter = (api: OrtApi, options: Pointer<'SessionOptions'>, value: string) => Pointer<'Status'> | null;

/** Session options with a function of their own; all others are config entries. They have no getter. */
const SETTERS: Record<string, Setter> = {
  intra_op_num_threads: (api, options, value) => api.setIntraOpNumThreads(options, Number(value)),
  inter_op_num_threads: (api, options, value) => api.setInterOpNumThreads(options, Number(value)),
  execution_mode: (api, options, value) => api.setExecutionMode(options, enumValue(EXECUTION_MODES, value)),
  graph_optimization_level: (api, options, value) =>
    api.setGraphOptimizationLevel(options, enumValue(OPTIMIZATION_LEVELS, value)),
  enable_cpu_mem_arena: (api, options, value) =>
    value === '1' ? api.enableCpuMemArena(options) : api.disableCpuMemArena(options),
  enable_mem_pattern: (api, options, value) =>
    value === '1' ? api.enableMemPattern(options) : api.disableMemPattern(options),
  use_deterministic_compute: (api, options, value) => api.setDeterministicCompute(options, value === '1'),
};

function enumValue(values: Record<string, number>, name: string): number {
  const value = values[name];
  if (value === undefined) {
    throw new OrtError('invalid-argument', `'${name}' is none of ${Object.keys(values).join(', ')}`);
  }
  return value;
}

/** Builds native session options and reads back what can be read back. Throws `option-not-taken`, `missing-library`. */
export function buildSessionOptions(api: OrtApi, spec: NativeOptionsSpec): NativeOptions {
  const out: Out<Pointer<'SessionOptions'>> = [null];
  check(api, api.createSessionOptions(out));
  const handle: SessionOptionsHandle = new Handle(
    'SessionOptions',
    filled(out, 'CreateSessionOptions'),
    api.releaseSessionOptions,
  );
  try {
    const parsed = { ...setSessionOptions(api, handle.pointer, spec), ...appendProvider(api, handle.pointer, spec) };
    return { handle, parsed };
  } catch (error) {
    handle.close();
    throw error;
  }
}

function setSessionOptions(
  api: OrtApi,
  options: Pointer<'SessionOptions'>,
  spec: NativeOptionsSpec,
): Record<string, string> {
  const parsed: Record<string, string> = {};
  for (const [name, size] of Object.entries(spec.freeDimensions)) {
    check(api, api.addFreeDimensionOverrideByName(options, name, size));
  }
  for (const [key, value] of Object.entries(spec.config)) check(api, api.addSessionConfigEntry(options, key, value));
  for (const [key, value] of Object.entries(spec.options.session)) {
    const setter = SETTERS[key];
    if (setter !== undefined) {
      check(api, setter(api, options, value));
      parsed[key] = value;
    } else {
      check(api, api.addSessionConfigEntry(options, key, value));
      parsed[key] = readConfigEntry(api, options, key);
      requireTaken(key, value, parsed[key]);
    }
  }
  if (spec.optimizedModelPath !== undefined) {
    check(api, api.setOptimizedModelFilePath(options, spec.optimizedModelPath));
  }
  for (const [name, value] of spec.initializers ?? []) check(api, api.addInitializer(options, name, value.pointer));
  return parsed;
}

function readConfigEntry(api: OrtApi, options: Pointer<'SessionOptions'>, key: string): string {
  const size: [number] = [0];
  check(api, api.getSessionConfigEntry(options, key, null, size));
  const buffer = Buffer.alloc(size[0]);
  check(api, api.getSessionConfigEntry(options, key, buffer, size));
  return buffer.toString('utf8', 0, Math.max(0, size[0] - 1));
}

function appendProvider(
  api: OrtApi,
  options: Pointer<'SessionOptions'>,
  spec: NativeOptionsSpec,
): Record<string, string> {
  if (spec.provider === 'cuda') return appendCuda(api, options, spec);
  // The CPU provider needs no append, and its use_arena is the arena switch of the session: both end in one flag.
  const arena = spec.options.provider.use_arena;
  if (arena === undefined) return {};
  check(api, arena === '1' ? api.enableCpuMemArena(options) : api.disableCpuMemArena(options));
  return { use_arena: arena };
}

/**
 * Appends CUDA. Its options are read back from the struct that the session is made with: that proves that each was
 * parsed as meant, not that it has an effect.
 */
function appendCuda(api: OrtApi, options: Pointer<'SessionOptions'>, spec: NativeOptionsSpec): Record<string, string> {
  const out: Out<Pointer<'CudaProviderOptions'>> = [null];
  check(api, api.createCudaProviderOptions(out));
  const cuda: CudaOptionsHandle = new Handle(
    'CudaProviderOptions',
    filled(out, 'CreateCUDAProviderOptions'),
    api.releaseCudaProviderOptions,
  );
  try {
    const wanted = { device_id: String(spec.device), ...spec.options.provider };
    const keys = Object.keys(wanted);
    check(api, api.updateCudaProviderOptions(cuda.pointer, keys, Object.values(wanted), keys.length));
    const parsed = readCudaOptions(api, cuda);
    for (const [key, value] of Object.entries(wanted)) {
      // UpdateCUDAProviderOptions refuses a key that it does not know, but the text leaves some known ones out: 1.29.0
      // prints no enable_cuda_graph. What is not printed is not claimed as read back.
      if (parsed[key] !== undefined) requireTaken(key, value, parsed[key]);
    }
    check(api, api.appendCudaProvider(options, cuda.pointer));
    return parsed;
  } finally {
    cuda.close();
  }
}

function readCudaOptions(api: OrtApi, cuda: CudaOptionsHandle): Record<string, string> {
  const allocator = defaultAllocator(api);
  const out: Out<bigint> = [null];
  check(api, api.getCudaProviderOptionsAsString(cuda.pointer, allocator, out));
  const address = filled(out, 'GetCUDAProviderOptionsAsString');
  const text = textAt(address);
  check(api, api.allocatorFree(allocator, address));
  return parseOptionText(text);
}

/** `device_id=0;use_tf32=1` -> an object. */
export function parseOptionText(text: string): Record<string, string> {
  const parsed: Record<string, string> = {};
  for (const pair of text.split(';')) {
    const at = pair.indexOf('=');
    if (at > 0) parsed[pair.slice(0, at)] = pair.slice(at + 1);
  }
  return parsed;
}

/** Throws `option-not-taken` where the library gives another value back than it was given. */
export function requireTaken(key: string, given: string, taken: string | undefined): void {
  if (taken === given) return;
  throw new OrtError(
    'option-not-taken',
    `ONNX Runtime took ${key}=${taken ?? '(nothing)'} where ${key}=${given} was given`,
    'Check the option against the version of the library.',
  );
}
