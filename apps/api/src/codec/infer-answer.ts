import { datatypeOf, type NamedTensor } from '@warmlane/contracts';
import { bytesOfTensor } from '@warmlane/shm';
import type { RequestedOutput } from './infer-request.js';
import { encodeJsonTensor } from './json-writer.js';

export interface AnswerFields {
  id: string | null;
  model: string;
  version: string;
}

export interface EncodedAnswer {
  body: Buffer;
  /** Bytes of the JSON head; null where the whole body is JSON. */
  headBytes: number | null;
}

/**
 * The protocol's answer: JSON, and behind it the raw bytes of the outputs that were asked for in binary. Throws as
 * {@link encodeJsonTensor}.
 */
export function encodeInferAnswer(
  fields: AnswerFields,
  outputs: readonly NamedTensor[],
  form: (name: string) => boolean,
): EncodedAnswer {
  const head = headOf(fields, outputs, form);
  const binary = outputs.filter((output) => form(output.name)).map(({ data }) => data);
  if (binary.length === 0) return { body: head, headBytes: null };
  return { body: Buffer.concat([head, ...binary]), headBytes: head.byteLength };
}

/** The head of an answer whose outputs are all binary; their bytes follow it in this order. */
export function encodeBinaryHead(fields: AnswerFields, outputs: readonly NamedTensor[]): Buffer {
  return headOf(fields, outputs, () => true);
}

function headOf(fields: AnswerFields, outputs: readonly NamedTensor[], form: (name: string) => boolean): Buffer {
  const heads = outputs.map((output) => {
    const start = `{"name":${JSON.stringify(output.name)},"datatype":"${datatypeOf(output.dtype)}","shape":[${output.dims.join(',')}]`;
    if (!form(output.name)) return `${start},"data":${encodeJsonTensor(output)}}`;
    return `${start},"parameters":{"binary_data_size":${bytesOfTensor(output)}}}`;
  });
  const id = fields.id === null ? '' : `"id":${JSON.stringify(fields.id)},`;
  return Buffer.from(
    `{${id}"model_name":${JSON.stringify(fields.model)},"model_version":"${fields.version}","outputs":[${heads.join(',')}]}`,
  );
}

/** Which form each output takes: as it asked itself, else as the request did. */
export function outputForm(
  outputs: readonly RequestedOutput[] | null,
  binaryOutput: boolean,
): (name: string) => boolean {
  if (outputs === null) return () => binaryOutput;
  const forms = new Map(outputs.map((output) => [output.name, output.binary]));
  return (name) => forms.get(name) ?? binaryOutput;
}
