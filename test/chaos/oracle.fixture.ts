import { join } from 'node:path';
import type { DType, NamedTensor } from '@warmlane/contracts';
import { InferenceSession, Tensor } from 'onnxruntime-node';

/** Lanes and the fallback may fuse and sum in another order than this session does. */
const TOLERANCE = 1e-3;

/** What the models answer, computed in the test's own process by onnxruntime-node. */
export class Oracle {
  readonly #sessions = new Map<string, Promise<InferenceSession>>();

  constructor(private readonly models: string) {}

  /** What is wrong with an answer; null where it is right. */
  async judge(model: string, inputs: readonly NamedTensor[], got: readonly NamedTensor[]): Promise<string | null> {
    const session = await this.#session(model);
    const expected = await session.run(Object.fromEntries(inputs.map((input) => [input.name, toOrt(input)])));
    for (const [name, tensor] of Object.entries(expected)) {
      const found = got.find((each) => each.name === name);
      if (found === undefined) return `output '${name}' is missing`;
      if (found.dims.join() !== tensor.dims.join() || found.dtype !== tensor.type) {
        return `output '${name}' is ${found.dtype}[${found.dims.join()}] instead of ${tensor.type}[${tensor.dims.join()}]`;
      }
      const error = relativeError(numbers(found.dtype, found.data), tensor.data);
      if (!(error <= TOLERANCE)) return `output '${name}' is off by ${error} (relative L2)`;
    }
    return null;
  }

  async close(): Promise<void> {
    for (const session of this.#sessions.values()) await (await session).release();
  }

  #session(model: string): Promise<InferenceSession> {
    const known = this.#sessions.get(model);
    if (known !== undefined) return known;
    // One thread: the system under test needs the cores more.
    const options = { executionProviders: ['cpu'], intraOpNumThreads: 1, logSeverityLevel: 3 as const };
    const session = InferenceSession.create(join(this.models, model, '1', 'model.onnx'), options);
    this.#sessions.set(model, session);
    return session;
  }
}

function toOrt({ dtype, dims, data }: NamedTensor): Tensor {
  return dtype === 'int32'
    ? new Tensor('int32', numbersOf(Int32Array, data), dims)
    : new Tensor('float32', numbersOf(Float32Array, data), dims);
}

function numbers(dtype: DType, data: Uint8Array): Int32Array | Float32Array {
  return dtype === 'int32' ? numbersOf(Int32Array, data) : numbersOf(Float32Array, data);
}

interface View<T> {
  new (buffer: ArrayBufferLike): T;
}

/** Copied: bytes of an answer may start anywhere. */
function numbersOf<T>(type: View<T>, data: Uint8Array): T {
  return new type(Uint8Array.from(data).buffer);
}

function relativeError(got: Int32Array | Float32Array, expected: Tensor['data']): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let norm = 0;
  for (const [at, value] of got.entries()) {
    const want = Number(expected[at]);
    difference += (value - want) ** 2;
    norm += want ** 2;
  }
  return norm === 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm);
}
