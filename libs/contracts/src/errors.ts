/** How one error code behaves: its HTTP status and whether the same request may succeed when it is sent again. */
interface ErrorTraits {
  readonly status: number;
  readonly retryable: boolean;
}

/** Every error code that leaves Warmlane, over HTTP (`error.code`, header `warmlane-error`) and in queues (`failedReason`). */
export const ERROR_CODES = {
  'bad-request': { status: 400, retryable: false },
  unauthorized: { status: 401, retryable: false },
  forbidden: { status: 403, retryable: false },
  'not-found': { status: 404, retryable: false },
  'unknown-model': { status: 404, retryable: false },
  'unknown-version': { status: 404, retryable: false },
  conflict: { status: 409, retryable: false },
  'tensor-gone': { status: 410, retryable: true },
  'too-large': { status: 413, retryable: false },
  poison: { status: 422, retryable: false },
  canceled: { status: 499, retryable: false },
  internal: { status: 500, retryable: false },
  'not-supported': { status: 501, retryable: false },
  'not-ready': { status: 503, retryable: true },
  overloaded: { status: 503, retryable: true },
  'device-busy': { status: 503, retryable: true },
  'device-unhealthy': { status: 503, retryable: true },
  'worker-gone': { status: 503, retryable: true },
  'redis-away': { status: 503, retryable: true },
  'deadline-exceeded': { status: 504, retryable: true },
} as const satisfies Record<string, ErrorTraits>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** The JSON form of an error: the `error` object of REST answers and the text of a job's `failedReason`. */
export interface ErrorBody {
  code: ErrorCode;
  message: string;
  /** What to do next; empty where the message says it already. */
  hint: string;
  retryable: boolean;
}

/** The one error class that crosses process, queue and HTTP boundaries. */
export class WarmlaneError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint = '', options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'WarmlaneError';
    this.code = code;
    this.hint = hint;
  }

  get status(): number {
    return ERROR_CODES[this.code].status;
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }

  toBody(): ErrorBody {
    return { code: this.code, message: this.message, hint: this.hint, retryable: this.retryable };
  }

  static fromBody(body: ErrorBody): WarmlaneError {
    return new WarmlaneError(body.code, body.message, body.hint);
  }

  /** Any thrown value as a WarmlaneError; what is not one already becomes `internal` and keeps its cause. */
  static from(thrown: unknown): WarmlaneError {
    if (thrown instanceof WarmlaneError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new WarmlaneError('internal', message, 'See the log of the process that failed.', { cause: thrown });
  }
}

/** True for a string that is one of {@link ERROR_CODES}. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERROR_CODES, text);
}

/** Reads the JSON form of an error (for example a job's `failedReason`); null where the text is something else. */
export function parseErrorBody(text: string): ErrorBody | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { code, message, hint } = value as Partial<Record<keyof ErrorBody, unknown>>;
  if (typeof code !== 'string' || !isErrorCode(code) || typeof message !== 'string') return null;
  return { code, message, hint: typeof hint === 'string' ? hint : '', retryable: ERROR_CODES[code].retryable };
}
