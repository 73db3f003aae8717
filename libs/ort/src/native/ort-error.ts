import { type ErrorCode, WarmlaneError } from '@warmlane/contracts';

/** What went wrong, in ONNX Runtime's own words where the failure is its own. */
export type OrtReason =
  | 'fail'
  | 'invalid-argument'
  | 'no-such-file'
  | 'no-model'
  | 'engine-error'
  | 'runtime-exception'
  | 'invalid-protobuf'
  | 'model-loaded'
  | 'not-implemented'
  | 'invalid-graph'
  | 'ep-fail'
  | 'load-canceled'
  | 'requires-compilation'
  | 'not-found'
  /** A handle, session or lane was used after `close()`. */
  | 'closed'
  /** A lane or session was asked for something while it was doing something else. */
  | 'busy'
  /** A shared library, or one that it needs, could not be loaded: the message names it. */
  | 'missing-library'
  /** Host or device memory was refused. */
  | 'out-of-memory'
  /** A CUDA call of ours or of ONNX Runtime failed: see `cudaCode`. */
  | 'cuda'
  /** The library took another value than it was given, or does not say that it took it. */
  | 'option-not-taken'
  /** Nodes were placed on another provider than the wanted one. */
  | 'placement'
  | 'not-supported';

/** OrtErrorCode of onnxruntime_c_api.h, by its number. */
const STATUS_CODES: readonly OrtReason[] = [
  'fail',
  'fail',
  'invalid-argument',
  'no-such-file',
  'no-model',
  'engine-error',
  'runtime-exception',
  'invalid-protobuf',
  'model-loaded',
  'not-implemented',
  'invalid-graph',
  'ep-fail',
  'load-canceled',
  'requires-compilation',
  'not-found',
];

const CODES: Record<OrtReason, ErrorCode> = {
  fail: 'internal',
  'invalid-argument': 'bad-request',
  'no-such-file': 'bad-request',
  'no-model': 'bad-request',
  'engine-error': 'internal',
  'runtime-exception': 'internal',
  'invalid-protobuf': 'bad-request',
  'model-loaded': 'internal',
  'not-implemented': 'not-supported',
  'invalid-graph': 'bad-request',
  'ep-fail': 'internal',
  'load-canceled': 'canceled',
  'requires-compilation': 'not-supported',
  'not-found': 'bad-request',
  closed: 'internal',
  busy: 'internal',
  'missing-library': 'not-supported',
  'out-of-memory': 'device-busy',
  cuda: 'internal',
  'option-not-taken': 'bad-request',
  placement: 'bad-request',
  'not-supported': 'not-supported',
};

/** cudaErrorStreamCapture* and their kin: a capture was broken, the device is well. */
const FIRST_CAPTURE_ERROR = 900;
const LAST_CAPTURE_ERROR = 908;
const CUDA_OUT_OF_MEMORY = 2;
/** Codes that leave the context usable: invalid value, out of memory, not permitted while capturing. All others stick. */
const HARMLESS_CUDA = new Set([1, CUDA_OUT_OF_MEMORY, 17, 21, 801]);

/** A failure of the native layer. `code` and `retryable` are Warmlane's, `reason` is the native one. */
export class OrtError extends WarmlaneError {
  readonly reason: OrtReason;
  /** cudaError_t, where a CUDA call failed inside ONNX Runtime or here. */
  readonly cudaCode: number | null;

  constructor(reason: OrtReason, message: string, hint = '', details: { cudaCode?: number; cause?: unknown } = {}) {
    super(CODES[reason], message, hint, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'OrtError';
    this.reason = reason;
    this.cudaCode = details.cudaCode ?? null;
  }

  /** A capture was broken, by this lane's own graph or by another thread's CUDA call: worth another try. */
  get brokeCapture(): boolean {
    return this.cudaCode !== null && this.cudaCode >= FIRST_CAPTURE_ERROR && this.cudaCode <= LAST_CAPTURE_ERROR;
  }

  /** The CUDA context is lost: every later call fails alike, and only a new process cures it. */
  get poisonsProcess(): boolean {
    return this.cudaCode !== null && !this.brokeCapture && !HARMLESS_CUDA.has(this.cudaCode);
  }
}

/** `CUDA failure 900: operation not permitted ... ; GPU=0 ; ...`, also of CUBLAS and CUDNN (whose numbers are their own). */
const CUDA_FAILURE = /\bCUDA (?:failure|error) (\d+)/;
/** The arena's and the allocators' messages; ONNX Runtime gives them the general codes FAIL and RUNTIME_EXCEPTION. */
const NO_MEMORY =
  /Failed to allocate memory|smaller than requested bytes|std::bad_alloc|CUDA failure 2:|out of memory/i;

/** `Failed to load library .../libonnxruntime_providers_cuda.so with error: libcublas.so.13: cannot open ...`. */
const NOT_LOADED = /Failed to load (?:shared )?library (\S+) with error: (.*)/;

/**
 * The error of a status. ONNX Runtime has no code for a failed CUDA call or a refused allocation, only text: this is the
 * one place that reads it, everything else looks at `reason` and `cudaCode`.
 */
export function errorOfStatus(statusCode: number, message: string): OrtError {
  const cuda = CUDA_FAILURE.exec(message);
  const cudaCode = cuda === null ? undefined : Number(cuda[1]);
  if (NO_MEMORY.test(message) || cudaCode === CUDA_OUT_OF_MEMORY) {
    return new OrtError('out-of-memory', message, 'Free memory on the device or lower the memory budget.', {
      cudaCode,
    });
  }
  const library = NOT_LOADED.exec(message);
  if (library !== null) return new OrtError('missing-library', `cannot load ${library[1]}: ${library[2]}`);
  if (cudaCode !== undefined) return new OrtError('cuda', message, '', { cudaCode });
  return new OrtError(STATUS_CODES[statusCode] ?? 'fail', message);
}
