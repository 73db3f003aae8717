/** A float32 tensor. */
export interface Tensor {
  shape: readonly number[];
  data: Float32Array;
}

export interface Answer extends Tensor {
  /** What served it: `ready`, `padded` or `cold`. */
  lane: string;
  /** Wall time from here, ms. */
  ms: number;
  /** Of it the run of the model, ms. */
  computeMs: number;
}

const HEADER = 'inference-header-content-length';

interface AnswerHead {
  outputs: { shape: number[]; parameters: { binary_data_size: number } }[];
}

/**
 * One inference over HTTP in the binary form of the Open Inference Protocol: a JSON header, then the tensors' bytes. The
 * model has one input, `x`, and one output. Throws the server's text where it refuses.
 */
export async function infer(url: string, model: string, input: Tensor): Promise<Answer> {
  const begun = performance.now();
  const bytes = Buffer.from(input.data.buffer, input.data.byteOffset, input.data.byteLength);
  const head = Buffer.from(
    JSON.stringify({
      inputs: [{ name: 'x', datatype: 'FP32', shape: input.shape, parameters: { binary_data_size: bytes.byteLength } }],
      parameters: { binary_data_output: true },
    }),
  );
  const response = await fetch(`${url}/v2/models/${model}/infer`, {
    method: 'POST',
    headers: {
      'content-type': 'application/octet-stream',
      // Floats hardly shrink: packing them costs more than sending them.
      'accept-encoding': 'identity',
      [HEADER]: String(head.byteLength),
    },
    body: Buffer.concat([head, bytes]),
  });
  const body = Buffer.from(await response.arrayBuffer());
  if (!response.ok) throw new Error(`${model}: ${response.status} ${body.toString('utf8').slice(0, 500)}`);
  const headBytes = Number(response.headers.get(HEADER));
  const { outputs } = JSON.parse(body.toString('utf8', 0, headBytes)) as AnswerHead;
  const [output] = outputs;
  if (output === undefined) throw new Error(`${model}: the answer has no output`);
  const data = new Float32Array(output.parameters.binary_data_size / 4);
  body.copy(Buffer.from(data.buffer), 0, headBytes, headBytes + data.byteLength);
  return {
    shape: output.shape,
    data,
    lane: response.headers.get('warmlane-lane') ?? '',
    ms: performance.now() - begun,
    computeMs: Number(/compute;dur=([\d.]+)/.exec(response.headers.get('server-timing') ?? '')?.[1] ?? 0),
  };
}
