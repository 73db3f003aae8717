import type { BlobRef, JobTensor, NamedTensor, SlotRef, TensorSpec } from '@warmlane/contracts';
import { INLINE_BYTES } from '../settings.js';
import type { InputBlobs } from './input-blobs.js';

/** An input whose bytes already lie in the blob store. */
export interface BlobTensor extends TensorSpec {
  blob: BlobRef;
}

export type InputTensor = NamedTensor | BlobTensor;

export function isBlobTensor(input: InputTensor): input is BlobTensor {
  return 'blob' in input;
}

/** Inputs in the form that a job carries. */
export interface StoredInputs {
  tensors: JobTensor[];
  /** Blobs written for this request; the producer unlinks them after the answer. */
  written: BlobRef[];
  /** Confirms the writes that were sent ahead of the add on its own connection; null where there is none. */
  writing: Promise<unknown> | null;
  /** Slots of shared memory that hold inputs of this request; the producer frees them after the answer. */
  slots: SlotRef[];
}

/** Where inputs are written, and for how long. */
export interface InputPlaces {
  blobs: InputBlobs;
  blobTtlMs: number;
  /** Writes into shared memory; answers null where it takes no such tensor. */
  toSlot: (input: NamedTensor) => Promise<SlotRef | null>;
}

/** Bytes of the inputs, wherever they lie. */
export function bytesOf(inputs: readonly InputTensor[]): number {
  return inputs.reduce((sum, input) => sum + (isBlobTensor(input) ? input.blob.bytes : input.data.byteLength), 0);
}

/** True where the inputs travel inside the job: 8 kB in sum. */
export function fitInline(inputs: readonly InputTensor[]): boolean {
  let bytes = 0;
  for (const input of inputs) if (!isBlobTensor(input)) bytes += input.data.byteLength;
  return bytes <= INLINE_BYTES;
}

/** Tensors that need no write: inline ones and blobs that are there already. */
export function inlineInputs(inputs: readonly InputTensor[]): JobTensor[] {
  return inputs.map((input) => {
    const { name, dtype, dims } = input;
    return isBlobTensor(input)
      ? { name, dtype, dims, blob: input.blob }
      : { name, dtype, dims, base64: toBase64(input.data) };
  });
}

/** Writes every input that is not a blob yet. After a failure nothing that was written stays. */
export async function storeInputs(
  inputs: readonly InputTensor[],
  { blobs, blobTtlMs, toSlot }: InputPlaces,
): Promise<StoredInputs> {
  const written: BlobRef[] = [];
  const slots: SlotRef[] = [];
  const writing: Promise<void>[] = [];
  const tensors: JobTensor[] = [];
  try {
    for (const input of inputs) {
      const { name, dtype, dims } = input;
      if (isBlobTensor(input)) {
        tensors.push({ name, dtype, dims, blob: input.blob });
        continue;
      }
      const slot = await toSlot(input);
      if (slot !== null) {
        slots.push(slot);
        tensors.push({ name, dtype, dims, slot });
        continue;
      }
      const { ref, stored } = await blobs.write(input.data, blobTtlMs);
      written.push(ref);
      if (stored !== null) writing.push(stored);
      tensors.push({ name, dtype, dims, blob: ref });
    }
  } catch (error) {
    blobs.unlink(written);
    await Promise.allSettled(writing);
    throw error;
  }
  return { tensors, written, writing: writing.length === 0 ? null : Promise.all(writing), slots };
}

function toBase64(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64');
}
