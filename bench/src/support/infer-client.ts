import { Pool } from 'undici';

/** One request of the inference protocol in its binary form, sent again and again. */
export class InferClient {
  readonly #pool: Pool;
  readonly #path: string;
  readonly #body: Buffer;
  readonly #headers: Record<string, string>;

  constructor(
    url: string,
    options: {
      model: string;
      version: string;
      input: { name: string; datatype: string; shape: number[]; data: Buffer };
      connections: number;
      headers?: Record<string, string>;
    },
  ) {
    const { name, datatype, shape, data } = options.input;
    const head = Buffer.from(
      JSON.stringify({
        inputs: [{ name, datatype, shape, parameters: { binary_data_size: data.byteLength } }],
        parameters: { binary_data_output: true },
      }),
    );
    this.#pool = new Pool(url, { connections: options.connections, pipelining: 1 });
    this.#path = `/v2/models/${options.model}/versions/${options.version}/infer`;
    this.#body = Buffer.concat([head, data]);
    this.#headers = {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': String(head.byteLength),
      ...options.headers,
    };
  }

  /** Sends one request; the answer's bytes and what served it. Rejects unless it is a 200. */
  async send(): Promise<{ lane: string; serverTiming: string; body: Buffer }> {
    const { statusCode, headers, body } = await this.#pool.request({
      path: this.#path,
      method: 'POST',
      headers: this.#headers,
      body: this.#body,
    });
    const bytes = Buffer.from(await body.arrayBuffer());
    if (statusCode !== 200) throw new Error(`status ${statusCode}: ${bytes.toString('utf8').slice(0, 500)}`);
    return {
      lane: String(headers['warmlane-lane'] ?? ''),
      serverTiming: String(headers['server-timing'] ?? ''),
      body: bytes,
    };
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
