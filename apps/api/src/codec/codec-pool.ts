import { Worker } from 'node:worker_threads';
import { type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import type { CodecResult, CodecTask } from './codec-task.js';
import { type AnswerFields, type EncodedAnswer, encodeInferAnswer } from './infer-answer.js';
import { decodeInferRequest, type InferRequest, TensorDataError } from './infer-request.js';

/** JSON up to this size is read and written on the event loop: it takes under 1 ms, a trip to a thread about 0.1 ms. */
const INLINE_JSON_BYTES = 64 * 1024;

interface Pending {
  task: CodecTask;
  transfer: ArrayBuffer[];
  resolve: (result: CodecResult) => void;
  reject: (error: Error) => void;
}

/**
 * Reads and writes the protocol's bodies: small JSON at once, large JSON in a few threads, so that a body of 60 MB does
 * not hold up the others. Threads start with the first large body; one that dies fails its task alone.
 */
export class CodecPool {
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Pending>();
  readonly #waiting: Pending[] = [];
  #closed = false;

  constructor(private readonly threads = 2) {}

  /**
   * Decodes `head` (JSON) and the raw tensors behind it; errors as `decodeInferRequest`. A large body's buffer moves to
   * the thread: the caller must not use `body` afterwards.
   */
  async decode(body: Buffer, headBytes: number | null): Promise<InferRequest> {
    const head = headBytes === null ? body : body.subarray(0, headBytes);
    const binary = headBytes === null ? null : body.subarray(headBytes);
    if (head.byteLength <= INLINE_JSON_BYTES) return decodeInferRequest(head, binary);
    const result = await this.#run({ kind: 'decode', head, binary }, ownBuffer(body));
    if (!result.ok) {
      const error = WarmlaneError.fromBody(result.error);
      throw result.specs === null ? error : new TensorDataError(error, result.specs);
    }
    if (!('request' in result)) throw new WarmlaneError('internal', 'the codec thread answered another task');
    return result.request;
  }

  /** The answer's body; errors as `encodeInferAnswer`. */
  async encode(fields: AnswerFields, outputs: NamedTensor[], form: (name: string) => boolean): Promise<EncodedAnswer> {
    const asJson = outputs.filter((output) => !form(output.name));
    if (asJson.reduce((sum, output) => sum + output.data.byteLength, 0) <= INLINE_JSON_BYTES) {
      return encodeInferAnswer(fields, outputs, form);
    }
    const binary = outputs.map((output) => output.name).filter(form);
    const result = await this.#run({ kind: 'encode', fields, outputs, binary }, []);
    if (!result.ok) throw WarmlaneError.fromBody(result.error);
    if (!('answer' in result)) throw new WarmlaneError('internal', 'the codec thread answered another task');
    const { body, headBytes } = result.answer;
    return { body: Buffer.from(body.buffer, body.byteOffset, body.byteLength), headBytes };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const pending of this.#waiting.splice(0)) pending.reject(closing());
    await Promise.all([...this.#idle, ...this.#busy.keys()].map((worker) => worker.terminate()));
  }

  #run(task: CodecTask, transfer: ArrayBuffer[]): Promise<CodecResult> {
    if (this.#closed) return Promise.reject(closing());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ task, transfer, resolve, reject });
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#waiting.length > 0) {
      const worker = this.#idle.pop() ?? (this.#busy.size < this.threads ? this.#start() : null);
      if (worker === null) return;
      const pending = this.#waiting.shift();
      if (pending === undefined) return;
      this.#busy.set(worker, pending);
      worker.ref();
      worker.postMessage(pending.task, pending.transfer);
    }
  }

  #start(): Worker {
    const worker = new Worker(new URL('./codec.worker.js', import.meta.url), { name: 'codec' });
    worker.on('message', (result: CodecResult) => {
      const pending = this.#busy.get(worker);
      this.#busy.delete(worker);
      worker.unref();
      this.#idle.push(worker);
      pending?.resolve(result);
      this.#pump();
    });
    worker.on('error', (error) => this.#gone(worker, error));
    worker.on('exit', () => this.#gone(worker, closing()));
    return worker;
  }

  #gone(worker: Worker, cause: Error): void {
    const idle = this.#idle.indexOf(worker);
    if (idle !== -1) this.#idle.splice(idle, 1);
    const pending = this.#busy.get(worker);
    this.#busy.delete(worker);
    pending?.reject(
      cause instanceof WarmlaneError
        ? cause
        : new WarmlaneError('internal', `the codec thread died: ${cause.message}`, 'Send it again, or use binary.', {
            cause,
          }),
    );
    if (!this.#closed) this.#pump();
  }
}

function closing(): WarmlaneError {
  return new WarmlaneError('not-ready', 'the server is closing', 'Send the request again.');
}

/** The buffer to move, where the body is all of it; a body inside a shared slab is copied instead. */
function ownBuffer(body: Buffer): ArrayBuffer[] {
  const { buffer } = body;
  return buffer instanceof ArrayBuffer && buffer.byteLength === body.byteLength ? [buffer] : [];
}
