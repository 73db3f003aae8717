import { datatypeOf, type NamedTensor } from '@warmlane/contracts';
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
  const binary: Uint8Array[] = [];
  const heads = outputs.map((output) => {
    const start = `{"name":${JSON.stringify(output.name)},"datatype":"${datatypeOf(output.dtype)}","shape":[${output.dims.join(',')}]`;
    if (!form(output.name)) return `${start},"data":${encodeJsonTensor(output)}}`;
    binary.push(output.data);
    return `${start},"parameters":{"binary_data_size":${output.data.byteLength}}}`;
  });
  const id = fields.id === null ? '' : `"id":${JSON.stringify(fields.id)},`;
  const head = Buffer.from(
    `{${id}"model_name":${JSON.stringify(fields.model)},"model_version":"${fields.version}","outputs":[${heads.join(',')}]}`,
  );
  if (binary.length === 0) return { body: head, headBytes: null };
  return { body: Buffer.concat([head, ...binary]), headBytes: head.byteLength };
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
