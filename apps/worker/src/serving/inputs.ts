import {
  type BlobRef,
  type ClassJob,
  checkTensorBytes,
  type JobTensor,
  type NamedTensor,
  WarmlaneError,
} from '@warmlane/contracts';
import type { BlobStore } from '@warmlane/redis';
import { type SharedMemory, SlotTensor } from '@warmlane/shm';
import { INPUT_SLOT_TTL_MS } from './serving.settings.js';

/** The blobs that a job refers to. */
export function inputBlobs(request: ClassJob): BlobRef[] {
  return request.inputs.flatMap((input) => (input.blob === undefined ? [] : [input.blob]));
}

export interface LoadedInputs {
  tensors: NamedTensor[];
  /** Ends the use of slots that were written here. */
  release: () => void;
}

/**
 * Fetches what lies in the blob store; large tensors become references to shared memory, which only the runtime reads.
 * Rejects with `tensor-gone` where bytes are no longer there, `bad-request` for bytes that are no strings.
 */
export async function loadInputs(
  request: ClassJob,
  blobs: BlobStore,
  memory: SharedMemory | null,
): Promise<LoadedInputs> {
  if (request.inputs.every((input) => input.base64 !== undefined)) {
    return { tensors: request.inputs.map(inline), release: () => undefined };
  }
  const own: SlotTensor[] = [];
  const tensors = await Promise.all(
    request.inputs.map(async (input) => {
      if (input.slot !== undefined) return referred(input, memory);
      const tensor = await fetched(input, blobs);
      const slot = input.dtype === 'string' ? null : ((await memory?.put(tensor.data, INPUT_SLOT_TTL_MS)) ?? null);
      if (slot === null || memory === null) return tensor;
      const shared = new SlotTensor(tensor, slot, memory.reader, tensor.data);
      own.push(shared);
      return shared;
    }),
  );
  const release = (): void => {
    for (const tensor of own) memory?.free(tensor.slot);
  };
  return { tensors, release };
}

/** It was written by the producer, on this host. The runtime alone looks whether it is still there: a run takes it from there. */
function referred(input: JobTensor, memory: SharedMemory | null): SlotTensor {
  const { slot } = input;
  if (slot === undefined || memory === null) throw gone(input, 'here nobody reads shared memory');
  return new SlotTensor(input, slot, memory.reader);
}

async function fetched(input: JobTensor, blobs: BlobStore): Promise<NamedTensor> {
  if (input.blob === undefined) return inline(input);
  const data = await blobs.get(input.blob);
  if (data === null || data.byteLength !== input.blob.bytes) throw gone(input, 'they are no longer in Redis');
  const tensor = { name: input.name, dtype: input.dtype, dims: input.dims, data };
  // Its length says nothing about strings: here they are read for the first time.
  if (input.dtype === 'string') checkTensorBytes(tensor);
  return tensor;
}

function gone({ name }: JobTensor, why: string): WarmlaneError {
  return new WarmlaneError(
    'tensor-gone',
    `the bytes of input '${name}' cannot be had: ${why}`,
    'Send the request again; write blobs with a time to live of the deadline and 60 s.',
  );
}

function inline(input: JobTensor): NamedTensor {
  const data = Buffer.from(input.base64 ?? '', 'base64');
  return { name: input.name, dtype: input.dtype, dims: input.dims, data };
}
