import { Pool } from 'undici';
import type { Outcome } from './open-loop.js';
import { lineOf } from './rec-model.js';

/** Sends lines of text of mixed widths over HTTP, binary in and out, with the whole output. */
export class HttpLines {
  readonly #pool: Pool;
  readonly #bodies: { head: number; bytes: Buffer }[];

  constructor(url: string, widths: readonly number[]) {
    this.#pool = new Pool(url, { connections: 512, pipelining: 1 });
    this.#bodies = widths.map((width) => {
      const { dims, data } = lineOf(width);
      const input = { name: 'x', datatype: 'FP32', shape: dims, parameters: { binary_data_size: data.byteLength } };
      const head = Buffer.from(JSON.stringify({ inputs: [input], parameters: { binary_data_output: true } }));
      return { head: head.byteLength, bytes: Buffer.concat([head, data]) };
    });
  }

  /** The `n`th request: widths take turns. Rejects for an answer that is neither right in form nor a refusal. */
  async send(model: string, n: number, deadlineMs: number): Promise<Outcome> {
    const body = this.#bodies[n % this.#bodies.length];
    if (body === undefined) throw new Error('no widths');
    const begun = performance.now();
    const answer = await this.#pool.request({
      path: `/v2/models/${model}/infer`,
      method: 'POST',
      headers: {
        'content-type': 'application/octet-stream',
        'accept-encoding': 'identity',
        'inference-header-content-length': String(body.head),
        'warmlane-deadline-ms': String(deadlineMs),
      },
      body: body.bytes,
    });
    const { byteLength } = await answer.body.arrayBuffer();
    const ms = performance.now() - begun;
    if (answer.statusCode === 503 || answer.statusCode === 504) return { ms, served: 'shed', bytes: 0 };
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode} for ${model}`);
    return { ms, served: String(answer.headers['warmlane-lane'] ?? ''), bytes: byteLength + body.bytes.byteLength };
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}
