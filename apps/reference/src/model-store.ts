import { readFileSync } from 'node:fs';
import path from 'node:path';
import {
  checkOutputs,
  isDType,
  type ModelMetadata,
  type NamedTensor,
  orderInputs,
  type ReferenceHello,
  type ReferenceMethods,
  type ValueInfo,
  WarmlaneError,
} from '@warmlane/contracts';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { type Float32Form, toFloat32Model } from './bfloat16-model.js';
import type { ReferenceCache } from './reference-cache.js';
import { fromOrt, toOrt } from './tensors.js';

type RunParams = ReferenceMethods['model.run']['params'];
type RunResult = ReferenceMethods['model.run']['result'];

interface LoadedModel {
  session: InferenceSession;
  metadata: ModelMetadata;
}

/** The reference is to be slow and plain: no fused kernels, one order of summation. */
const SESSION_OPTIONS: Record<ReferenceHello['role'], InferenceSession.SessionOptions> = {
  reference: {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'disabled',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  },
  fallback: { executionProviders: ['cpu'], logSeverityLevel: 3 },
};

/** Sessions of onnxruntime-node by model digest, all with the options of the process's role. Loading and running block this process: it has nothing else to do. */
export class ModelStore {
  readonly #models = new Map<string, Promise<LoadedModel>>();

  constructor(
    private readonly role: ReferenceHello['role'],
    private readonly cache: ReferenceCache | null,
  ) {}

  /** Throws `bad-request` with ONNX Runtime's message for a file that it refuses, `not-supported` for what we do not. */
  async load(file: string, digest: string): Promise<ModelMetadata> {
    return (await this.#model(file, digest)).metadata;
  }

  async unload(digest: string): Promise<void> {
    const model = this.#models.get(digest);
    this.#models.delete(digest);
    const loaded = await model?.catch(() => null);
    await loaded?.session.release();
  }

  /** Inputs are checked against the model; `outputs` null means all, in the model's order. */
  async run({ path: file, digest, inputs, outputs, cacheKey }: RunParams): Promise<RunResult> {
    const { session, metadata } = await this.#model(file, digest);
    const wanted = checkOutputs(metadata, outputs);
    const cache = cacheKey === null ? null : this.cache;
    const kept = cacheKey === null ? null : (cache?.get(digest, cacheKey) ?? null);
    if (kept !== null) return { outputs: pick(kept, wanted), computeMs: 0, cached: true };
    // What is kept must serve whoever asks next, whichever outputs they want.
    const names = cache === null ? wanted : metadata.outputs.map((info) => info.name);
    const { results, computeMs } = await execute(session, metadata, inputs, names);
    if (cacheKey !== null) cache?.put(digest, cacheKey, results);
    return { outputs: pick(results, wanted), computeMs, cached: false };
  }

  #model(file: string, digest: string): Promise<LoadedModel> {
    const known = this.#models.get(digest);
    if (known !== undefined) return known;
    const loading = loadModel(file, SESSION_OPTIONS[this.role]);
    this.#models.set(digest, loading);
    loading.catch(() => {
      if (this.#models.get(digest) === loading) this.#models.delete(digest);
    });
    return loading;
  }
}

async function loadModel(file: string, options: InferenceSession.SessionOptions): Promise<LoadedModel> {
  const { session, converted } = await openSession(file, options);
  try {
    const metadata: ModelMetadata = {
      inputs: session.inputMetadata.map((info) => describe('input', info, converted)),
      outputs: session.outputMetadata.map((info) => describe('output', info, converted)),
    };
    return { session, metadata };
  } catch (error) {
    await session.release();
    throw error;
  }
}

/** A model that is refused for its bfloat16 is opened in its float32 form; `converted`: its inputs and outputs so changed. */
async function openSession(
  file: string,
  options: InferenceSession.SessionOptions,
): Promise<{ session: InferenceSession; converted: ReadonlySet<string> }> {
  const hint = 'Check that the file is a whole ONNX model with its external data beside it.';
  let refusal: unknown;
  try {
    return { session: await InferenceSession.create(file, options), converted: new Set() };
  } catch (error) {
    refusal = error;
  }
  const folder = path.dirname(file);
  const form = float32Form(file, folder);
  if (form === null) throw refused(refusal, hint);
  try {
    // A model from bytes has no place of its own: other external data is looked for where this says.
    const extra = { session: { model_external_initializers_file_folder_path: folder } };
    return { session: await InferenceSession.create(form.model, { ...options, extra }), converted: form.converted };
  } catch (error) {
    throw refused(error, hint);
  }
}

function float32Form(file: string, folder: string): Float32Form | null {
  try {
    return toFloat32Model(readFileSync(file), folder);
  } catch {
    // Not readable, over 2 GiB, or no ONNX model: ONNX Runtime's own message says it best.
    return null;
  }
}

function describe(what: string, info: InferenceSession.ValueMetadata, converted: ReadonlySet<string>): ValueInfo {
  if (!info.isTensor) {
    throw new WarmlaneError(
      'not-supported',
      `${what} '${info.name}' is a sequence, map or optional value`,
      'Export the model with plain tensors as inputs and outputs.',
    );
  }
  if (!isDType(info.type)) {
    throw new WarmlaneError(
      'not-supported',
      `${what} '${info.name}' has dtype ${info.type}`,
      'Export the model with a dtype of the shape key.',
    );
  }
  return {
    name: info.name,
    dtype: converted.has(info.name) ? 'bfloat16' : info.type,
    dims: info.shape.map((dim) => (dim === '' ? -1 : dim)),
  };
}

async function execute(
  session: InferenceSession,
  metadata: ModelMetadata,
  inputs: readonly NamedTensor[],
  names: string[],
): Promise<{ results: NamedTensor[]; computeMs: number }> {
  const feeds: Record<string, Tensor> = {};
  for (const input of orderInputs(metadata, inputs)) feeds[input.name] = toOrt(input);
  const begun = performance.now();
  let values: InferenceSession.OnnxValueMapType;
  try {
    values = await session.run(feeds, names);
  } catch (cause) {
    throw refused(cause, 'The graph does not take these shapes or values.');
  }
  const computeMs = performance.now() - begun;
  const results = names.map((name) => {
    const value = values[name];
    const declared = metadata.outputs.find((info) => info.name === name);
    if (!(value instanceof Tensor) || declared === undefined) {
      throw new WarmlaneError('internal', `ONNX Runtime gave no tensor for output '${name}'`);
    }
    return fromOrt(name, value, declared.dtype);
  });
  return { results, computeMs };
}

/** onnxruntime-node gives a message only, no code: whatever it refuses is the model's or the input's. */
function refused(cause: unknown, hint: string): WarmlaneError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new WarmlaneError('bad-request', message.trim(), hint, { cause });
}

function pick(tensors: readonly NamedTensor[], names: readonly string[]): NamedTensor[] {
  return names.flatMap((name) => tensors.find((tensor) => tensor.name === name) ?? []);
}
