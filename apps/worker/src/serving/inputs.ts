import {
  type BlobRef,
  type ClassJob,
  checkTensorBytes,
  type JobTensor,
  type NamedTensor,
  WarmlaneError,
} from '@warmlane/contracts';
import type { BlobStore } from '@warmlane/redis';

/** The blobs that a job refers to. */
export function inputBlobs(request: ClassJob): BlobRef[] {
  return request.inputs.flatMap((input) => (input.blob === undefined ? [] : [input.blob]));
}

/** Fetches what lies in the blob store. Rejects with `tensor-gone` where it is no longer there, `bad-request` for bytes that are no strings. */
export async function loadInputs(request: ClassJob, blobs: BlobStore): Promise<NamedTensor[]> {
  if (request.inputs.every((input) => input.base64 !== undefined)) return request.inputs.map(inline);
  return Promise.all(
    request.inputs.map(async (input) => {
      if (input.blob === undefined) return inline(input);
      const data = await blobs.get(input.blob);
      if (data === null || data.byteLength !== input.blob.bytes) {
        throw new WarmlaneError(
          'tensor-gone',
          `the bytes of input '${input.name}' are no longer in Redis`,
          'Send the request again; write blobs with a time to live of the deadline and 60 s.',
        );
      }
      const tensor = { name: input.name, dtype: input.dtype, dims: input.dims, data };
      // Its length says nothing about strings: here they are read for the first time.
      if (input.dtype === 'string') checkTensorBytes(tensor);
      return tensor;
    }),
  );
}

function inline(input: JobTensor): NamedTensor {
  const data = Buffer.from(input.base64 ?? '', 'base64');
  return { name: input.name, dtype: input.dtype, dims: input.dims, data };
}
