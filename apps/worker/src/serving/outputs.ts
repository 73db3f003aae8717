import type { AnswerHead, ClassJob, NamedTensor } from '@warmlane/contracts';
import type { BlobStore } from '@warmlane/redis';
import { bytesOfTensor, type SharedMemory, SlotTensor } from '@warmlane/shm';
import { ANSWER_BLOB_TTL_MS, ANSWER_INLINE_BYTES, OUTPUT_SLOT_TTL_MS } from './serving.settings.js';

type HeadOutput = Extract<AnswerHead, { ok: true }>['outputs'][number];

/** Outputs as an answer carries them. */
export interface StoredOutputs {
  described: HeadOutput[];
  /** One entry per output: its bytes, or null where it is a blob or a slot. */
  inline: (Uint8Array | null)[];
  /** What proves to the producer that this worker reads its slots. */
  proof: string | null;
}

/** Small outputs go with the answer; where they are too large in sum, each becomes a slot of this host or a blob. */
export async function storeOutputs(
  request: ClassJob,
  outputs: readonly NamedTensor[],
  blobs: BlobStore,
  memory: SharedMemory | null,
): Promise<StoredOutputs> {
  const proof = request.sharesMemory === undefined ? null : (memory?.proofFor(request.sharesMemory) ?? null);
  const bytes = outputs.reduce((sum, output) => sum + bytesOfTensor(output), 0);
  if (bytes <= ANSWER_INLINE_BYTES) {
    const here = await Promise.all(outputs.map(loaded));
    return { described: here.map((output) => describe(output, {})), inline: here.map(({ data }) => data), proof };
  }
  const described = await Promise.all(
    outputs.map(async (output) => {
      const slot = proof === null ? null : await toSlot(output, memory);
      if (slot !== null) return describe(output, { slot });
      const { data } = await loaded(output);
      return describe(output, { blob: await blobs.put(data, request.answerBlobTtlMs ?? ANSWER_BLOB_TTL_MS) });
    }),
  );
  return { described, inline: outputs.map(() => null), proof };
}

async function toSlot(output: NamedTensor, memory: SharedMemory | null) {
  if (output instanceof SlotTensor) return output.slot;
  return (await memory?.put(output.data, OUTPUT_SLOT_TTL_MS)) ?? null;
}

/** The bytes here; their slot is free. */
async function loaded(output: NamedTensor): Promise<NamedTensor> {
  if (!(output instanceof SlotTensor)) return output;
  const tensor = await output.load();
  output.free();
  return tensor;
}

function describe(output: NamedTensor, place: Pick<HeadOutput, 'slot'> & { blob?: HeadOutput['blob'] }): HeadOutput {
  const { name, dtype, dims } = output;
  return { name, dtype, dims, bytes: bytesOfTensor(output), blob: null, ...place };
}
