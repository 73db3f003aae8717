import { open } from 'node:fs/promises';
import { type GraphSummary, MalformedError, readGraph } from '@warmlane/lanes';

/** What a model's main graph is made of; null for a file that is not well-formed, which ONNX Runtime may still take. */
export async function graphOf(path: string): Promise<GraphSummary | null> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    return await readGraph({
      size,
      read: async (buffer, position) => (await file.read(buffer, 0, buffer.byteLength, position)).bytesRead,
    });
  } catch (thrown) {
    if (thrown instanceof MalformedError) return null;
    throw thrown;
  } finally {
    await file.close();
  }
}
