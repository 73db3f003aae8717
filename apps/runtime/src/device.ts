import type { ProviderName } from '@warmlane/contracts';
import type { CudaRuntime } from '@warmlane/ort';
import { cpuEnvironment, hostMemory } from './environment.js';

/** What a runtime works on. */
export interface Device {
  readonly provider: ProviderName;
  /** `cpu`, or name and UUID. */
  readonly name: string;
  /** UUID of the GPU or MIG instance, which the lock goes by; null for the CPU, which any number may use. */
  readonly uuid: string | null;
  /** Its part of the environment fingerprint. */
  readonly environment: Record<string, string>;
  /** What lanes need; null for the CPU. */
  readonly cuda: CudaRuntime | null;
  memory(): { free: number; total: number };
}

export function cpuDevice(): Device {
  return {
    provider: 'cpu',
    name: 'cpu',
    uuid: null,
    environment: cpuEnvironment(),
    cuda: null,
    memory: hostMemory,
  };
}
