import { datatypeOf, dtypeOf, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { z } from 'zod';

/** An answer of the Open Inference Protocol with what Warmlane says about it in headers. */
export interface InferAnswer {
  outputs: NamedTensor[];
  /** `ready`, `padded` or `cold`. */
  lane: string;
}

const HEADER = 'inference-header-content-length';
const DEADLINE_MS = 120_000;

const answerSchema = z.object({
  outputs: z.array(
    z.object({
      name: z.string(),
      datatype: z.string(),
      shape: z.array(z.number()),
      parameters: z.object({ binary_data_size: z.number() }),
    }),
  ),
});

/**
 * One inference in the protocol's binary form.
 * @throws WarmlaneError with the server's text where it answers with an error
 */
export async function infer(
  url: string,
  model: string,
  inputs: readonly NamedTensor[],
  signal: AbortSignal,
): Promise<InferAnswer> {
  const { body, headerBytes } = encodeRequest(inputs);
  const response = await fetch(`${url}/v2/models/${encodeURIComponent(model)}/infer`, {
    method: 'POST',
    headers: {
      'content-type': 'application/octet-stream',
      [HEADER]: String(headerBytes),
      'warmlane-deadline-ms': String(DEADLINE_MS),
    },
    body,
    signal,
  });
  const answer = new Uint8Array(await response.arrayBuffer());
  if (!response.ok) {
    throw new WarmlaneError('internal', `${response.status} ${new TextDecoder().decode(answer).slice(0, 300)}`);
  }
  return {
    outputs: decodeAnswer(answer, Number(response.headers.get(HEADER))),
    lane: response.headers.get('warmlane-lane') ?? '',
  };
}

/** JSON, then the tensors' bytes in order; binary outputs are asked for. */
export function encodeRequest(inputs: readonly NamedTensor[]): { body: Uint8Array<ArrayBuffer>; headerBytes: number } {
  const header = new TextEncoder().encode(
    JSON.stringify({
      parameters: { binary_data_output: true },
      inputs: inputs.map((input) => ({
        name: input.name,
        datatype: datatypeOf(input.dtype),
        shape: input.dims,
        parameters: { binary_data_size: input.data.byteLength },
      })),
    }),
  );
  const parts = [header, ...inputs.map((input) => input.data)];
  const body = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    body.set(part, at);
    at += part.byteLength;
  }
  return { body, headerBytes: header.byteLength };
}

/** The inverse for an answer whose outputs are all binary. */
export function decodeAnswer(answer: Uint8Array, headerBytes: number): NamedTensor[] {
  const header: unknown = JSON.parse(new TextDecoder().decode(answer.subarray(0, headerBytes)));
  let at = headerBytes;
  return answerSchema.parse(header).outputs.map((output) => {
    const dtype = dtypeOf(output.datatype);
    const end = at + output.parameters.binary_data_size;
    if (dtype === null || end > answer.byteLength) {
      throw new WarmlaneError('internal', `the answer's output '${output.name}' is cut off or of unknown datatype`);
    }
    const data = answer.slice(at, end);
    at = end;
    return { name: output.name, dtype, dims: output.shape, data };
  });
}
