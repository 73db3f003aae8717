import type { ModelMetadata, ParsedOptions, ProviderName } from '@warmlane/contracts';
import { callAsync, check, type OrtApi } from '../native/api.js';
import { filled, Handle, type Out, type Pointer, type PrepackedHandle, type SessionHandle } from '../native/handle.js';
import { HostBuffer } from '../native/host-buffer.js';
import { OrtError } from '../native/ort-error.js';
import { type AllocatorStats, readAllocatorStats } from './allocator-stats.js';
import { readMetadata } from './metadata.js';
import type { OrtRuntime } from './ort-runtime.js';
import {
  type Location,
  nodesOff,
  type Placement,
  RECORD_PLACEMENT,
  readLocations,
  readPlacement,
} from './placement.js';
import { buildSessionOptions, type NativeOptions } from './session-options.js';
import type { SharedValue } from './tensor-value.js';

/** A model by its file (external data is found beside it) or by its bytes (which have no external data). */
export type ModelSource = { path: string } | { bytes: Uint8Array };

export interface SessionSpec {
  model: ModelSource;
  /** The provider that is to run the model. */
  provider: ProviderName;
  /** `error` (default): a node on another provider fails the creation and is named. */
  fallback?: 'error' | 'allow';
  /** As the provider-option table's parser gives them. */
  options?: ParsedOptions;
  /** CUDA's number of the device, default 0. */
  device?: number;
  /** Sizes of symbolic dimensions by name; the session then declares and assumes them. */
  freeDimensions?: Readonly<Record<string, number>>;
  /** Further session config entries. */
  config?: Readonly<Record<string, string>>;
  /** The optimised model is written there at creation. */
  optimizedModelPath?: string;
  /**
   * Values that stand in for initialisers of the model, by name; they must outlive the session. ONNX Runtime takes a name
   * that the model does not have in silence.
   */
  initializers?: ReadonlyMap<string, SharedValue>;
  /** On the CPU, with a model by its path: where kernels keep their own layout of `initializers`, for all its sessions. */
  prepacked?: PrepackedHandle | null;
}

export const NO_OPTIONS: ParsedOptions = { provider: {}, session: {}, run: {} };

/** A session of ONNX Runtime with what it says about itself. Made by {@link createSession}; owns its native handle. */
export class OrtSession implements Disposable {
  readonly api: OrtApi;
  readonly provider: ProviderName;
  readonly device: number;
  readonly metadata: ModelMetadata;
  readonly placement: Placement;
  /** Options as the library read them: proves parsing, not effect. */
  readonly optionsParsed: Record<string, string>;
  /** Where each input is read and each output written, in the order of the metadata. */
  readonly locations: { inputs: Location[]; outputs: Location[] };
  readonly #handle: SessionHandle;

  constructor(api: OrtApi, handle: SessionHandle, spec: SessionSpec, optionsParsed: Record<string, string>) {
    this.api = api;
    this.#handle = handle;
    this.provider = spec.provider;
    this.device = spec.device ?? 0;
    this.optionsParsed = optionsParsed;
    this.metadata = readMetadata(api, handle.pointer);
    this.placement = readPlacement(api, handle.pointer);
    this.locations = readLocations(api, handle.pointer, {
      inputs: this.metadata.inputs.length,
      outputs: this.metadata.outputs.length,
    });
  }

  get pointer(): Pointer<'Session'> {
    return this.#handle.pointer;
  }

  /** Statistics of the session's allocator for its provider's memory, bytes and counts; null where it keeps none. */
  allocatorStats(): AllocatorStats | null {
    return readAllocatorStats(this.api, this.pointer, this.provider, this.device);
  }

  close(): void {
    this.#handle.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Creates a session on a pool thread: this thread goes on meanwhile. */
export async function createSession(runtime: OrtRuntime, spec: SessionSpec): Promise<OrtSession> {
  const { api } = runtime;
  const native = nativeOptions(runtime, spec);
  const out: Out<Pointer<'Session'>> = [null];
  try {
    if ('path' in spec.model) {
      await createFromPath(runtime, spec.model.path, spec, native.handle.pointer, out);
    } else {
      const bytes = HostBuffer.of(spec.model.bytes);
      try {
        await callAsync(
          api,
          api.createSessionFromArray,
          runtime.env,
          bytes.address,
          bytes.bytes,
          native.handle.pointer,
          out,
        );
      } finally {
        bytes.close();
      }
    }
  } finally {
    native.handle.close();
  }
  return finish(api, spec, native, filled(out, 'CreateSession'));
}

async function createFromPath(
  { api, env }: OrtRuntime,
  path: string,
  { prepacked = null }: SessionSpec,
  options: Pointer<'SessionOptions'>,
  out: Out<Pointer<'Session'>>,
): Promise<void> {
  if (prepacked === null) await callAsync(api, api.createSession, env, path, options, out);
  else await callAsync(api, api.createSessionWithPrepacked, env, path, options, prepacked.pointer, out);
}

/** Creates a session on this thread, which is blocked meanwhile. */
export function createSessionSync(runtime: OrtRuntime, spec: SessionSpec): OrtSession {
  const { api } = runtime;
  const native = nativeOptions(runtime, spec);
  const out: Out<Pointer<'Session'>> = [null];
  try {
    if ('path' in spec.model) {
      check(api, api.createSession(runtime.env, spec.model.path, native.handle.pointer, out));
    } else {
      const bytes = HostBuffer.of(spec.model.bytes);
      try {
        check(api, api.createSessionFromArray(runtime.env, bytes.address, bytes.bytes, native.handle.pointer, out));
      } finally {
        bytes.close();
      }
    }
  } finally {
    native.handle.close();
  }
  return finish(api, spec, native, filled(out, 'CreateSession'));
}

function nativeOptions(runtime: OrtRuntime, spec: SessionSpec): NativeOptions {
  return buildSessionOptions(runtime.api, {
    provider: spec.provider,
    options: spec.options ?? NO_OPTIONS,
    device: spec.device ?? 0,
    freeDimensions: spec.freeDimensions ?? {},
    config: { ...spec.config, ...RECORD_PLACEMENT },
    optimizedModelPath: spec.optimizedModelPath,
    initializers: spec.initializers,
  });
}

function finish(api: OrtApi, spec: SessionSpec, native: NativeOptions, pointer: Pointer<'Session'>): OrtSession {
  const handle: SessionHandle = new Handle('Session', pointer, api.releaseSession);
  try {
    const session = new OrtSession(api, handle, spec, native.parsed);
    if (spec.fallback !== 'allow') requirePlacement(session);
    return session;
  } catch (error) {
    handle.close();
    throw error;
  }
}

const NAMED_NODES = 8;

function requirePlacement(session: OrtSession): void {
  const off = nodesOff(session.placement, session.provider);
  if (off.length === 0) return;
  const named = off.slice(0, NAMED_NODES).map((node) => `${node.operator} '${node.name}' on ${node.provider}`);
  const more = off.length > NAMED_NODES ? ` and ${off.length - NAMED_NODES} more` : '';
  throw new OrtError(
    'placement',
    `${off.length} of ${session.placement.nodes.length} nodes are not on ${session.provider}: ${named.join(', ')}${more}`,
    'Set fallback: allow to accept that, or another provider.',
  );
}

/**
 * What a model declares, its free dimensions open. Costs a session without optimisations, which is closed again: keep
 * the result by the model's digest.
 */
export async function readModelMetadata(runtime: OrtRuntime, model: ModelSource): Promise<ModelMetadata> {
  const session = await createSession(runtime, {
    model,
    provider: 'cpu',
    options: { ...NO_OPTIONS, session: { graph_optimization_level: 'ORT_DISABLE_ALL', intra_op_num_threads: '1' } },
  });
  session.close();
  return session.metadata;
}
