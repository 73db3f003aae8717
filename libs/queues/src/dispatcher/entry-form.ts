import {
  type BlobRef,
  datatypeOf,
  dtypeOf,
  type EntryInferJob,
  type EntryInferResult,
  type EntryTensor,
  type EntryWarmJob,
  entryInferJobSchema,
  entryWarmJobSchema,
  WarmlaneError,
} from '@warmlane/contracts';
import type { Answer } from '@warmlane/redis';
import { describeIssue } from '../form.js';
import type { InputTensor } from '../producer/job-tensors.js';
import { successOf } from '../producer/producer.js';
import { ENTRY_INLINE_BYTES } from '../settings.js';

/** Name of the jobs of queue `inference`. */
export const INFER_JOB = 'infer';
/** Name of the jobs of queue `warmup`. */
export const WARM_JOB = 'warm';

/** A job of queue `inference`, checked. */
export interface InferForm {
  job: EntryInferJob;
  inputs: InputTensor[];
}

/** Throws `bad-request` for a job that is not of this form, naming what is wrong; `too-large` for too many inline bytes. */
export function parseInferJob(name: string, data: unknown): InferForm {
  checkName(name, INFER_JOB);
  const parsed = entryInferJobSchema.safeParse(data);
  if (!parsed.success) throw notOurForm(INFER_JOB, describeIssue(parsed.error));
  const inputs = parsed.data.inputs.map(toInput);
  const inlineBytes = inputs.reduce((sum, input) => sum + ('data' in input ? input.data.byteLength : 0), 0);
  if (inlineBytes > ENTRY_INLINE_BYTES) {
    throw new WarmlaneError(
      'too-large',
      `the inline inputs have ${inlineBytes} bytes, at most ${ENTRY_INLINE_BYTES} in sum travel in a job`,
      'Write larger tensors as a blob before the add, and name it: blob: {id, bytes}.',
    );
  }
  return { job: parsed.data, inputs };
}

/** Throws `bad-request` for a job that is not of this form. */
export function parseWarmJob(name: string, data: unknown): EntryWarmJob {
  checkName(name, WARM_JOB);
  const parsed = entryWarmJobSchema.safeParse(data);
  if (!parsed.success) throw notOurForm(WARM_JOB, describeIssue(parsed.error));
  return parsed.data;
}

/** The blobs that a job names; none where it is not of our form. */
export function blobsOf(data: unknown): BlobRef[] {
  const parsed = entryInferJobSchema.safeParse(data);
  if (!parsed.success) return [];
  return parsed.data.inputs.flatMap((input) => ('blob' in input ? [input.blob] : []));
}

/** What the job returns; throws the error of a failed answer. Outputs are inline or blobs as the worker made them. */
export function toEntryResult(answer: Answer, totalMs: number): EntryInferResult {
  const head = successOf(answer);
  return {
    v: 1,
    lane: head.lane,
    shapeKey: head.shapeKey,
    timing: { ...head.timing, totalMs },
    outputs: head.outputs.map(({ name, dtype, dims, blob }, at): EntryTensor => {
      const spec = { name, datatype: datatypeOf(dtype), shape: dims };
      return blob === null
        ? { ...spec, base64: (answer.inline[at] ?? Buffer.alloc(0)).toString('base64') }
        : { ...spec, blob };
    }),
  };
}

function toInput(tensor: EntryTensor): InputTensor {
  const dtype = dtypeOf(tensor.datatype);
  if (dtype === null) throw notOurForm(INFER_JOB, `unknown datatype ${tensor.datatype}`);
  const spec = { name: tensor.name, dtype, dims: tensor.shape };
  return 'blob' in tensor ? { ...spec, blob: tensor.blob } : { ...spec, data: Buffer.from(tensor.base64, 'base64') };
}

function checkName(name: string, expected: string): void {
  if (name === expected) return;
  throw new WarmlaneError('bad-request', `unknown job '${name}'`, `Jobs of this queue are named '${expected}'.`);
}

function notOurForm(job: string, what: string): WarmlaneError {
  const forms: Record<string, string> = {
    [INFER_JOB]:
      '{v: 1, model, version?, inputs: [{name, datatype, shape, base64 | blob}], outputs?, deadlineMs?, priority?}',
    [WARM_JOB]: '{v: 1, model, version, shapes, replicas?, tune?, options?, priority?, deadlineMs?}',
  };
  return new WarmlaneError('bad-request', `not a job of this queue: ${what}`, `Its data is ${forms[job] ?? ''}.`);
}
