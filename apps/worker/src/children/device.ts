import { WarmlaneError } from '@warmlane/contracts';
import { findNvidiaDevices, type NvidiaDevice } from '@warmlane/process';
import type { RuntimeDevice } from '../processes/index.js';

/**
 * What WARMLANE_DEVICE names, for the runtime. `auto`: the CPU only if the machine has no NVIDIA device, else the first
 * one. Throws `bad-request` for a CUDA device that the machine does not have.
 */
export async function resolveDevice(
  device: string,
  find: () => Promise<NvidiaDevice[]> = findNvidiaDevices,
): Promise<RuntimeDevice> {
  if (device === 'cpu') return { provider: 'cpu' };
  const index = /^cuda:([0-9]+)$/.exec(device)?.[1];
  if (index === undefined && device !== 'auto') return { provider: 'cuda', visible: device };
  const found = await find();
  if (device === 'auto') return found.length === 0 ? { provider: 'cpu' } : { provider: 'cuda', visible: '0' };
  if (index === undefined || !found.some((one) => one.index === Number(index))) {
    const list = found.map((one) =>
      [`cuda:${one.index}`, one.uuid, one.name].filter((part) => part !== null).join(' '),
    );
    throw new WarmlaneError(
      'bad-request',
      `device ${device}: this machine has ${list.join(', ') || 'no NVIDIA device'}`,
      'Set WARMLANE_DEVICE (--device) to cpu, auto, or one that is there.',
    );
  }
  return { provider: 'cuda', visible: index };
}
