import type { ModelMetadata } from './model-metadata.js';
import type { NamedTensor } from './tensor.js';

export interface ReferenceHello {
  pid: number;
  role: 'reference' | 'fallback';
  ortVersion: string;
}

/** Worker -> reference and fallback processes (same methods, different session options). */
export interface ReferenceMethods {
  /** Loads the model and answers what it declares. Fails with `bad-request` and the message of ONNX Runtime. */
  'model.load': { params: { path: string; digest: string }; result: ModelMetadata };
  'model.unload': { params: { digest: string }; result: Record<string, never> };
  /**
   * One run of a loaded model. With `cacheKey` (shape key, seed and sample spec) the outputs are kept on disk under the
   * model's digest and read from there the next time (reference only).
   */
  'model.run': {
    params: { path: string; digest: string; inputs: NamedTensor[]; outputs: string[] | null; cacheKey: string | null };
    result: { outputs: NamedTensor[]; computeMs: number; cached: boolean };
  };
  close: { params: Record<string, never>; result: Record<string, never> };
}
