import { open } from 'node:fs/promises';
import { externalLocations } from '@warmlane/lanes';

/** The external-data locations that an ONNX file names, see `externalLocations`. */
export async function externalLocationsOf(path: string): Promise<string[]> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    return await externalLocations({
      size,
      read: async (buffer, position) => (await file.read(buffer, 0, buffer.byteLength, position)).bytesRead,
    });
  } finally {
    await file.close();
  }
}
