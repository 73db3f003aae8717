import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A GPU that the kernel driver shows; says nothing about CUDA libraries. */
export interface NvidiaDevice {
  /** Position by PCI bus, as `cuda:N` counts with CUDA_DEVICE_ORDER=PCI_BUS_ID. */
  index: number;
  name: string | null;
  uuid: string | null;
}

/**
 * The machine's NVIDIA devices, from the driver's /proc and /dev entries alone: works without any CUDA library.
 * @param root another root folder, for tests
 */
export async function findNvidiaDevices(root = '/'): Promise<NvidiaDevice[]> {
  const folder = join(root, 'proc/driver/nvidia/gpus');
  const buses = (await list(folder)).sort();
  if (buses.length > 0) {
    return Promise.all(
      buses.map(async (bus, index) => {
        const information = await readFile(join(folder, bus, 'information'), 'utf8').catch(() => '');
        return { index, name: field(information, 'Model'), uuid: field(information, 'GPU UUID') };
      }),
    );
  }
  // A container may hide /proc/driver; WSL has /dev/dxg in place of device files.
  const files = (await list(join(root, 'dev'))).filter((name) => /^nvidia\d+$/.test(name) || name === 'dxg');
  return files.sort().map((_, index) => ({ index, name: null, uuid: null }));
}

async function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

function field(information: string, name: string): string | null {
  return new RegExp(`^${name}:\\s*(.+?)\\s*$`, 'm').exec(information)?.[1] ?? null;
}
