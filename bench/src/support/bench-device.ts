import { parseArgs } from 'node:util';
import { nvidiaDriverVersion } from '@warmlane/ort';

export interface WorkerDevice {
  device: string;
  provider: string;
}

/** What a bench ran on: its short name for the result's file, and what the file says of the device. */
export interface BenchDevice {
  name: string;
  versions: Record<string, string>;
}

/** The argument `--device` of a bench that has no other: `cpu` unless said. */
export function deviceArgument(): string {
  return parseArgs({ options: { device: { type: 'string', default: 'cpu' } } }).values.device;
}

/** What the system at `url` runs on. */
export async function benchDevice(url: string): Promise<BenchDevice> {
  const { workers } = (await (await fetch(`${url}/v1/workers`)).json()) as { workers: WorkerDevice[] };
  return benchDeviceOf(workers);
}

/** The GPU among the workers' devices, else the CPU. */
export function benchDeviceOf(workers: readonly WorkerDevice[]): BenchDevice {
  const gpu = workers.find(({ provider }) => provider !== 'cpu');
  if (gpu === undefined) return { name: 'cpu', versions: {} };
  return { name: shortName(gpu.device), versions: { gpu: gpu.device, nvidiaDriver: nvidiaDriverVersion() ?? '' } };
}

/** `NVIDIA H100 80GB HBM3 GPU-...` -> `h100`. */
function shortName(device: string): string {
  return (/\b([A-Z]{1,3}[0-9]{2,4}[A-Z]?)\b/.exec(device)?.[1] ?? 'gpu').toLowerCase();
}
