import {
  type ClassJob,
  checkTensorBytes,
  type ModelMetadata,
  orderInputs,
  printShapeKey,
  tensorBytes,
  WarmlaneError,
} from '@warmlane/contracts';
import { type InputTensor, isBlobTensor } from './job-tensors.js';

/** A request in progress elsewhere, which this submission joins if it exists already. */
export interface Resumption {
  request: string;
  /** Redis TIME in ms; null at the first sight. */
  deadlineAt: number | null;
  /** Queue that the first sight chose; null before. */
  queue: string | null;
  /** True where another process may have added it: then the worker looks first whether it is answered. */
  again: boolean;
  /** Told before the job is added, so that a second run adds the same job to the same queue. */
  onRouted: (queue: string, deadlineAt: number) => Promise<void>;
}

/** A request with every default filled in. */
export interface Submission {
  model: string;
  version: string | null;
  inputs: readonly InputTensor[];
  outputs: readonly string[] | null;
  deadlineMs: number;
  priority: number;
  signal: AbortSignal | null;
  /** How long blobs of the answer live, ms. */
  answerBlobTtlMs: number;
  resume: Resumption | null;
  /** Its tensors may die with this process: large ones go through shared memory where its worker has the same. */
  sharesMemory?: boolean;
  /** Called once Redis has confirmed the job: from here on it is answered even if this process dies. */
  onAccepted?: () => void;
}

/** The checked inputs in the model's order and the request's shape key. Throws `bad-request` naming the input. */
export function checkSubmission(
  metadata: ModelMetadata,
  given: readonly InputTensor[],
): { key: string; inputs: InputTensor[] } {
  const inputs = orderInputs(metadata, given);
  for (const input of inputs) {
    if (isBlobTensor(input)) checkBlobBytes(input);
    else checkTensorBytes(input);
  }
  return { key: printShapeKey(inputs), inputs };
}

/** Strings are of any length: their bytes are checked where they are read. */
function checkBlobBytes(input: Extract<InputTensor, { blob: unknown }>): void {
  const what = `input '${input.name}'`;
  const expected = tensorBytes(input, what);
  if (expected !== null && input.blob.bytes !== expected) {
    throw new WarmlaneError(
      'bad-request',
      `${what}: its blob has ${input.blob.bytes} bytes, expected ${expected} for ${input.dtype}[${input.dims.join(',')}]`,
    );
  }
}

/** The job of a request's one repeat: the same request, so that it can be answered only once. */
export function repeatOf(data: ClassJob): { jobId: string; data: ClassJob } {
  return { jobId: `${data.request}-2`, data: { ...data, repeat: true } };
}
