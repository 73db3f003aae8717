import {
  type BlobRef,
  datatypeOf,
  dtypeOf,
  type EntryTensor,
  type NamedTensor,
  WarmlaneError,
} from '@warmlane/contracts';
import { ENTRY_INLINE_BYTES } from '../settings.js';

/** Tensors in the form of the entry queue: inline up to 64 kB in sum, else each as a blob. */
export async function toEntryTensors(
  tensors: readonly NamedTensor[],
  put: (data: Uint8Array) => Promise<BlobRef>,
): Promise<EntryTensor[]> {
  const inline = tensors.reduce((sum, tensor) => sum + tensor.data.byteLength, 0) <= ENTRY_INLINE_BYTES;
  const entries: EntryTensor[] = [];
  for (const { name, dtype, dims, data } of tensors) {
    const spec = { name, datatype: datatypeOf(dtype), shape: dims };
    if (!inline) entries.push({ ...spec, blob: await put(data) });
    else
      entries.push({ ...spec, base64: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64') });
  }
  return entries;
}

/** Inverse of {@link toEntryTensors}; blobs are read and stay. Rejects with `tensor-gone` for one that is not there. */
export async function fromEntryTensors(
  entries: readonly EntryTensor[],
  get: (ref: BlobRef) => Promise<Buffer | null>,
): Promise<NamedTensor[]> {
  return Promise.all(
    entries.map(async (entry) => {
      const { name, datatype, shape: dims } = entry;
      const dtype = dtypeOf(datatype);
      if (dtype === null) throw new WarmlaneError('internal', `output '${name}' has an unknown datatype ${datatype}`);
      const data = 'blob' in entry ? await get(entry.blob) : Buffer.from(entry.base64, 'base64');
      if (data === null) {
        throw new WarmlaneError('tensor-gone', `output '${name}' is kept no longer`, 'Ask for results within 60 s.');
      }
      return { name, dtype, dims, data };
    }),
  );
}
