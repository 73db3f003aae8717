import { type ProviderName, WarmlaneError } from '@warmlane/contracts';
import { CudaRuntime, cudaProblem, type Gpu, listGpus, nvidiaDriverVersion, type OrtRuntime } from '@warmlane/ort';
import { cpuEnvironment, hostMemory } from './environment.js';

/** What a runtime works on. */
export interface Device {
  readonly provider: ProviderName;
  /** `cpu`, or name and UUID. */
  readonly name: string;
  /** Its part of the environment fingerprint. */
  readonly environment: Record<string, string>;
  /** What lanes need; null for the CPU. */
  readonly cuda: CudaRuntime | null;
  memory(): { free: number; total: number };
}

export function cpuDevice(): Device {
  return { provider: 'cpu', name: 'cpu', environment: cpuEnvironment(), cuda: null, memory: hostMemory };
}

/**
 * The device that CUDA_VISIBLE_DEVICES names: a number in PCI order, `GPU-<uuid>` or `MIG-<uuid>`. Makes no context.
 * Throws `bad-request` naming what is there.
 */
export function findGpu(visible: string, gpus: readonly Gpu[] = listGpus()): Gpu {
  const found =
    gpus.find((gpu) => gpu.uuid === visible) ??
    gpus.find((gpu) => !/^[0-9]+$/.test(visible) && gpu.uuid.startsWith(visible)) ??
    gpus.find((gpu) => String(gpu.index) === visible);
  if (found !== undefined) return found;
  throw new WarmlaneError(
    'bad-request',
    `there is no CUDA device ${visible}: ${gpus.map((gpu) => `${gpu.index} ${gpu.uuid} ${gpu.name}`).join('; ') || 'this machine has none'}`,
    'Name one of these as the device, or cpu.',
  );
}

/**
 * The one device that this process sees, ready for lanes: makes its context. Throws `not-supported` naming the library
 * that is missing.
 */
export function cudaDevice(runtime: OrtRuntime, gpu: Gpu): Device {
  const problem = cudaProblem(runtime);
  if (problem !== null) throw problem;
  // CUDA_VISIBLE_DEVICES holds one device: it is CUDA's number 0.
  const cuda = CudaRuntime.load(0);
  const versions = cuda.versions();
  return {
    provider: 'cuda',
    name: `${gpu.name} (${gpu.uuid})`,
    environment: {
      device: gpu.name,
      driver: nvidiaDriverVersion() ?? 'unknown',
      cuda: versions.runtime,
      cudnn: versions.cudnn ?? 'none',
    },
    cuda,
    memory: () => cuda.memory(),
  };
}
