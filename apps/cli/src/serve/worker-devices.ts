import { findNvidiaDevices, type NvidiaDevice, SetupError } from '@warmlane/process';
import { type Settings, severalWorkersOnGpu } from '../config/settings.schema.js';

/**
 * The device of each worker of this machine. `auto`: one worker for each GPU, named by its UUID where the driver tells it,
 * since numbers change when a card is taken out. @throws SetupError for several workers on one GPU
 */
export async function workerDevices(
  { device, workers }: Pick<Settings, 'device' | 'workers'>,
  find: () => Promise<NvidiaDevice[]> = findNvidiaDevices,
): Promise<string[]> {
  const gpus = device === 'auto' ? await find() : [];
  if (gpus.length > 0 && workers > 1) {
    throw new SetupError(severalWorkersOnGpu(workers, 'auto (this machine has an NVIDIA device)'));
  }
  if (gpus.length > 1) return gpus.map(({ uuid, index }) => uuid ?? `cuda:${index}`);
  return Array.from({ length: workers }, () => device);
}
