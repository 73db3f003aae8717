import { open } from 'node:fs/promises';
import type { DType, ParsedOptions } from '@warmlane/contracts';
import { check } from '../native/api.js';
import type { CudaRuntime } from '../native/cuda-runtime.js';
import { closeAll, filled, Handle, type Out, type Pointer, type PrepackedHandle } from '../native/handle.js';
import { copyTo, HostBuffer } from '../native/host-buffer.js';
import { OrtError } from '../native/ort-error.js';
import { createMemoryInfo, valueOver } from '../native/value.js';
import type { OrtRuntime } from './ort-runtime.js';
import { createSession } from './session.js';
import type { SharedValue } from './tensor-value.js';

/** An initialiser with where its little-endian bytes lie. */
export interface WeightSource {
  name: string;
  dtype: DType;
  dims: readonly number[];
  file: string;
  offset: number;
  bytes: number;
}

/** Alignment of each value: what cudaMalloc gives, and more than vector kernels ask for. */
const ALIGNMENT = 256;
/** Read and copied at a time: large enough for a disk and a bus, small enough to hold up a serving thread for 1 ms only. */
const CHUNK_BYTES = 8 * 2 ** 20;

/**
 * The weights of one model in one block of memory, on the device or on the host: read once, then given by address to
 * every session that is made with `values`. They must outlive those sessions.
 */
export class SharedWeights implements Disposable {
  /** Bytes of the block. */
  readonly bytes: number;
  readonly values: ReadonlyMap<string, SharedValue>;
  /** On the CPU, what kernels lay out anew is kept here once for all sessions; null on CUDA. */
  readonly prepacked: PrepackedHandle | null;
  readonly #owned: readonly { close(): void }[];

  private constructor(
    bytes: number,
    values: ReadonlyMap<string, SharedValue>,
    prepacked: PrepackedHandle | null,
    owned: readonly { close(): void }[],
  ) {
    this.bytes = bytes;
    this.values = values;
    this.prepacked = prepacked;
    this.#owned = owned;
  }

  /**
   * Reads the weights into device memory, or host memory without `cuda`. Only a chunk at a time passes through
   * JavaScript. Throws `out-of-memory`, `invalid-protobuf` where a file is shorter than said.
   */
  static async load(
    runtime: OrtRuntime,
    sources: readonly WeightSource[],
    cuda: CudaRuntime | null,
  ): Promise<SharedWeights> {
    const offsets: number[] = [];
    let total = 0;
    for (const { bytes } of sources) {
      offsets.push(total);
      total += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    }
    const { api } = runtime;
    const owned: { close(): void }[] = [];
    try {
      const block = cuda === null ? HostBuffer.allocate(total + ALIGNMENT) : cuda.allocate(total);
      owned.unshift(block);
      const start = cuda === null ? alignUp(block.address) : block.address;
      await fill(sources, (at) => start + BigInt(offsets[at] ?? 0), cuda);
      const info = createMemoryInfo(
        api,
        cuda === null ? { provider: 'cpu' } : { provider: 'cuda', device: cuda.device },
      );
      const values = new Map<string, SharedValue>();
      try {
        sources.forEach(({ name, dtype, dims, bytes }, at) => {
          const value = valueOver(api, info, { address: start + BigInt(offsets[at] ?? 0), bytes }, dtype, dims);
          owned.unshift(value);
          values.set(name, value);
        });
      } finally {
        info.close();
      }
      const prepacked = cuda === null ? createPrepacked(runtime) : null;
      if (prepacked !== null) owned.unshift(prepacked);
      return new SharedWeights(total, values, prepacked, owned);
    } catch (error) {
      closeAll(owned);
      throw error;
    }
  }

  /** Releases what kernels kept, the values, their memory. Close every session before. Safe to repeat. */
  close(): void {
    closeAll(this.#owned);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function alignUp(address: bigint): bigint {
  const alignment = BigInt(ALIGNMENT);
  return ((address + alignment - 1n) / alignment) * alignment;
}

function createPrepacked({ api }: OrtRuntime): PrepackedHandle {
  const out: Out<Pointer<'PrepackedWeights'>> = [null];
  check(api, api.createPrepackedWeights(out));
  return new Handle('PrepackedWeights', filled(out, 'CreatePrepackedWeightsContainer'), api.releasePrepackedWeights);
}

async function fill(
  sources: readonly WeightSource[],
  addressOf: (at: number) => bigint,
  cuda: CudaRuntime | null,
): Promise<void> {
  const staging = cuda === null ? HostBuffer.allocate(CHUNK_BYTES) : cuda.allocatePinned(CHUNK_BYTES);
  try {
    for (const [at, source] of sources.entries()) {
      const file = await open(source.file, 'r');
      try {
        for (let done = 0; done < source.bytes; ) {
          const chunk = staging.view.subarray(0, Math.min(CHUNK_BYTES, source.bytes - done));
          const { bytesRead } = await file.read(chunk, 0, chunk.byteLength, source.offset + done);
          if (bytesRead === 0) {
            throw new OrtError('invalid-protobuf', `${source.file} ends within '${source.name}'`, 'Copy it again.');
          }
          const to = addressOf(at) + BigInt(done);
          if (cuda === null) copyTo(to, chunk.subarray(0, bytesRead));
          else {
            cuda.copyToDevice(to, staging.address, bytesRead);
            cuda.synchronize();
          }
          done += bytesRead;
        }
      } finally {
        await file.close();
      }
    }
  } finally {
    staging.close();
  }
}

/** Names in the folder of a model that was written to share its weights. */
export const OPTIMIZED_MODEL = 'model.onnx';
const WEIGHTS_FILE = 'weights.bin';
const EXTERNAL_FROM_BYTES = 1024;

/**
 * Has ONNX Runtime optimise a model for every shape and write it to a folder, the initialisers beside it in a file of
 * their own: sessions made from it with their values given read no weights. By the CPU provider, on a pool thread.
 */
export async function writeOptimizedModel(
  runtime: OrtRuntime,
  spec: { model: string; folder: string; options: ParsedOptions },
): Promise<void> {
  const session = await createSession(runtime, {
    model: { path: spec.model },
    provider: 'cpu',
    options: spec.options,
    optimizedModelPath: `${spec.folder}/${OPTIMIZED_MODEL}`,
    config: {
      'session.optimized_model_external_initializers_file_name': WEIGHTS_FILE,
      'session.optimized_model_external_initializers_min_size_in_bytes': String(EXTERNAL_FROM_BYTES),
    },
  });
  session.close();
}
