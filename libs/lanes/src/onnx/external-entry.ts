import type { ProtoReader } from './proto-reader.js';

/** Longest key or value of an external-data entry that is read: file names are at most 4096 bytes. */
const MAX_TEXT_BYTES = 8192;

/** One `StringStringEntryProto` that ends at `end`. */
export async function readExternalEntry(reader: ProtoReader, end: number): Promise<{ key: string; value: string }> {
  const found = { key: '', value: '' };
  while (reader.position < end) {
    const field = await reader.field(end);
    if (field.kind !== 'bytes') continue;
    const next = reader.position + field.length;
    if (field.number === 1) found.key = await reader.text(field.length, MAX_TEXT_BYTES);
    else if (field.number === 2) found.value = await reader.text(field.length, MAX_TEXT_BYTES);
    reader.position = next;
  }
  return found;
}
