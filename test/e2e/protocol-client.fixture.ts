import { request as httpRequest } from 'node:http';

/** Bytes as a client sent and got them: no library adds or hides a header. */
export interface RawAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

export interface RawRequest {
  method?: string;
  headers?: Record<string, string | number>;
  body?: Uint8Array | string;
}

/** Longer than any deadline that a test sets: an API that stands still fails the request, not the whole run. */
const WHOLE_ANSWER_MS = 150_000;

/** One request over node:http, which sends exactly the given headers (and Host, Connection and a length). */
export function send(url: string, options: RawRequest = {}): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      url,
      { method: options.method ?? (options.body === undefined ? 'GET' : 'POST'), headers: options.headers ?? {} },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          clearTimeout(timer);
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
        });
        response.on('error', reject);
      },
    );
    const timer = setTimeout(
      () => request.destroy(new Error(`no whole answer from ${url} within ${WHOLE_ANSWER_MS} ms`)),
      WHOLE_ANSWER_MS,
    );
    request.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    request.end(options.body);
  });
}

export function json<T = Record<string, unknown>>(answer: RawAnswer): T {
  return JSON.parse(answer.body.toString('utf8')) as T;
}

export const floats = (...values: number[]): Buffer => Buffer.from(new Float32Array(values).buffer);

export interface BinaryInput {
  name: string;
  datatype: string;
  shape: number[];
  data: Uint8Array;
}

/**
 * An inference as `tritonclient.http` sends it: no Content-Type, all inputs binary, and `binary_data_output` because no
 * outputs are named.
 */
export function tritonRequest(inputs: BinaryInput[], extra: Record<string, unknown> = {}): RawRequest {
  const head = Buffer.from(
    JSON.stringify({
      ...extra,
      inputs: inputs.map(({ name, datatype, shape, data }) => ({
        name,
        shape,
        datatype,
        parameters: { binary_data_size: data.byteLength },
      })),
      parameters: { binary_data_output: true, ...(extra.parameters as object | undefined) },
    }),
  );
  return {
    method: 'POST',
    headers: { 'Inference-Header-Content-Length': head.byteLength },
    body: Buffer.concat([head, ...inputs.map((input) => input.data)]),
  };
}

export interface InferHead {
  id?: string;
  model_name: string;
  model_version: string;
  outputs: {
    name: string;
    datatype: string;
    shape: number[];
    data?: unknown[];
    parameters?: { binary_data_size?: number };
  }[];
}

/** The head of an answer and the raw bytes of each binary output, as a client takes them apart. */
export function takeApart(answer: RawAnswer): { head: InferHead; outputs: Map<string, Buffer> } {
  if (answer.status !== 200) throw new Error(`status ${answer.status}: ${answer.body.toString('utf8', 0, 500)}`);
  const length = answer.headers['inference-header-content-length'];
  const end = length === undefined ? answer.body.byteLength : Number(length);
  const head = JSON.parse(answer.body.toString('utf8', 0, end)) as InferHead;
  const outputs = new Map<string, Buffer>();
  let at = end;
  for (const output of head.outputs) {
    const size = output.parameters?.binary_data_size;
    if (size === undefined) continue;
    outputs.set(output.name, answer.body.subarray(at, at + size));
    at += size;
  }
  if (at !== answer.body.byteLength) throw new Error(`the answer has ${answer.body.byteLength - at} bytes too many`);
  return { head, outputs };
}
