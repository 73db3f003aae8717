import type { NamedTensor } from '@warmlane/contracts';
import { Pool } from 'undici';
import { z } from 'zod';

const DEADLINE_MS = 60_000;

const headSchema = z.object({
  outputs: z.array(
    z.object({
      name: z.string(),
      shape: z.array(z.number()),
      parameters: z.object({ binary_data_size: z.number().int() }),
    }),
  ),
});

export interface BinaryAnswer {
  /** From the call to the last byte of the answer. */
  ms: number;
  /** `ready`, `padded` or `cold`. */
  served: string;
  /** Where the server says that the time went: stages of `server-timing`, ms. */
  stages: Map<string, number>;
  /** Bytes of both ways. */
  bytes: number;
  /** The outputs; read when called, so that nobody pays for it inside the clock. */
  outputs: () => NamedTensor[];
}

/** Sends float32 tensors in the binary form of the inference protocol, over one connection. Bodies are made beforehand. */
export class BinaryClient {
  readonly #pool: Pool;
  readonly #bodies = new Map<string, { head: number; body: Buffer }>();

  constructor(url: string) {
    this.#pool = new Pool(url, { connections: 1, pipelining: 1, headersTimeout: 120_000, bodyTimeout: 120_000 });
  }

  prepare(shapeKey: string, inputs: readonly NamedTensor[]): void {
    const head = Buffer.from(
      JSON.stringify({
        inputs: inputs.map(({ name, dims, data }) => ({
          name,
          datatype: 'FP32',
          shape: dims,
          parameters: { binary_data_size: data.byteLength },
        })),
        parameters: { binary_data_output: true },
      }),
    );
    const body = Buffer.concat([head, ...inputs.map(({ data }) => data)]);
    this.#bodies.set(shapeKey, { head: head.byteLength, body });
  }

  /** Rejects for any status but 200. */
  async send(model: string, shapeKey: string): Promise<BinaryAnswer> {
    const prepared = this.#bodies.get(shapeKey);
    if (prepared === undefined) throw new Error(`prepare ${shapeKey} first`);
    const begun = performance.now();
    const { statusCode, headers, body } = await this.#pool.request({
      path: `/v2/models/${model}/infer`,
      method: 'POST',
      headers: {
        'content-type': 'application/octet-stream',
        'accept-encoding': 'identity',
        'inference-header-content-length': String(prepared.head),
        'warmlane-deadline-ms': String(DEADLINE_MS),
      },
      body: prepared.body,
    });
    const bytes = Buffer.from(await body.arrayBuffer());
    const ms = performance.now() - begun;
    if (statusCode !== 200)
      throw new Error(`status ${statusCode} for ${model} ${shapeKey}: ${bytes.toString('utf8', 0, 500)}`);
    const headBytes = Number(headers['inference-header-content-length']);
    return {
      ms,
      served: String(headers['warmlane-lane'] ?? ''),
      stages: stagesOf(String(headers['server-timing'] ?? '')),
      bytes: bytes.byteLength + prepared.body.byteLength,
      outputs: () => outputsOf(bytes, headBytes),
    };
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

/** `queue;dur=0.500, compute;dur=2.000` -> by name, ms. */
function stagesOf(header: string): Map<string, number> {
  return new Map([...header.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name = '', ms]) => [name, Number(ms)]));
}

function outputsOf(bytes: Buffer, headBytes: number): NamedTensor[] {
  const { outputs } = headSchema.parse(JSON.parse(bytes.toString('utf8', 0, headBytes)));
  let at = headBytes;
  return outputs.map(({ name, shape, parameters: { binary_data_size: size } }) => {
    // A copy: floats are read in place, and those of a body need not lie on a multiple of 4.
    const data = new Uint8Array(bytes.subarray(at, at + size));
    at += size;
    return { name, dtype: 'float32', dims: shape, data };
  });
}
