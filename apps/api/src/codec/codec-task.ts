import { type ErrorBody, type NamedTensor, type TensorSpec, WarmlaneError } from '@warmlane/contracts';
import { type AnswerFields, type EncodedAnswer, encodeInferAnswer } from './infer-answer.js';
import { decodeInferRequest, type InferRequest, TensorDataError } from './infer-request.js';

/** Work that a codec thread does; everything in it survives a structured clone. */
export type CodecTask =
  | { kind: 'decode'; head: Uint8Array; binary: Uint8Array | null }
  | { kind: 'encode'; fields: AnswerFields; outputs: NamedTensor[]; binary: string[] };

export type CodecResult =
  | { ok: true; request: InferRequest }
  | { ok: true; answer: EncodedAnswer }
  /** `specs`: the inputs as announced, where only their data was refused. */
  | { ok: false; error: ErrorBody; specs: readonly TensorSpec[] | null };

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Errors become values here, because a class does not survive the way between threads. */
export function runCodecTask(task: CodecTask): CodecResult {
  try {
    if (task.kind === 'decode') {
      return {
        ok: true,
        request: decodeInferRequest(view(task.head), task.binary === null ? null : view(task.binary)),
      };
    }
    const binary = new Set(task.binary);
    return { ok: true, answer: encodeInferAnswer(task.fields, task.outputs, (name) => binary.has(name)) };
  } catch (error) {
    return {
      ok: false,
      error: WarmlaneError.from(error).toBody(),
      specs: error instanceof TensorDataError ? error.specs : null,
    };
  }
}
