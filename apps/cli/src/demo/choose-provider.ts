import type { NvidiaDevice } from '@warmlane/process';
import type { OrtProbe } from '../doctor/ort-probe.schema.js';

export interface ProviderChoice {
  provider: 'cpu' | 'cuda';
  /** Which one and why not the other, in one sentence. */
  reason: string;
}

/** The GPU where there is one and its provider loads; else the CPU, with what is missing by name. */
export function chooseProvider(devices: readonly NvidiaDevice[], ort: OrtProbe): ProviderChoice {
  const [device] = devices;
  if (device === undefined) {
    return { provider: 'cpu', reason: 'CPU: this machine has no NVIDIA device' };
  }
  const name = device.name ?? 'NVIDIA device';
  if (!ort.cuda.loadable) {
    return { provider: 'cpu', reason: `CPU: ${name} is here, but the CUDA provider does not load: ${ort.cuda.reason}` };
  }
  return { provider: 'cuda', reason: `CUDA: ${name} is here and its provider loads; the CPU is many times slower` };
}
