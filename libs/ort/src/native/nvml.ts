import koffi, { type LibraryHandle } from 'koffi';
import { loadFirst } from './dynamic-library.js';
import type { Out } from './handle.js';

/** One GPU, or one MIG instance of one. */
export interface Gpu {
  /** The GPU's number in PCI bus order, as CUDA counts with CUDA_DEVICE_ORDER=PCI_BUS_ID. A MIG instance has its GPU's. */
  index: number;
  /** `GPU-...` or `MIG-...`: what CUDA_VISIBLE_DEVICES takes. */
  uuid: string;
  /** For instance `NVIDIA H100 80GB HBM3`, or with its profile `NVIDIA H100 80GB HBM3 MIG 1g.10gb`. */
  name: string;
  /** Bytes of device memory, free and in all; 0 where the driver does not say. */
  memory: { free: number; total: number };
  mig: boolean;
}

type Device = bigint;
type Status = number;

interface Functions {
  init(): Status;
  shutdown(): Status;
  driverVersion(text: Uint8Array, bytes: number): Status;
  deviceCount(out: Out<number>): Status;
  deviceByIndex(index: number, out: Out<Device>): Status;
  uuid(device: Device, text: Uint8Array, bytes: number): Status;
  name(device: Device, text: Uint8Array, bytes: number): Status;
  /** Three unsigned 64-bit numbers: total, free, used. */
  memoryInfo(device: Device, out: BigUint64Array): Status;
  maxMigDevices(device: Device, out: Out<number>): Status;
  migDevice(device: Device, index: number, out: Out<Device>): Status;
}

function bind(library: LibraryHandle): Functions {
  const P = 'void *';
  const outInt = koffi.out(koffi.pointer('uint'));
  const outPointer = koffi.out(koffi.pointer('void *'));
  return {
    init: library.func('nvmlInit_v2', 'int', []),
    shutdown: library.func('nvmlShutdown', 'int', []),
    driverVersion: library.func('nvmlSystemGetDriverVersion', 'int', [P, 'uint']),
    deviceCount: library.func('nvmlDeviceGetCount_v2', 'int', [outInt]),
    deviceByIndex: library.func('nvmlDeviceGetHandleByIndex_v2', 'int', ['uint', outPointer]),
    uuid: library.func('nvmlDeviceGetUUID', 'int', [P, P, 'uint']),
    name: library.func('nvmlDeviceGetName', 'int', [P, P, 'uint']),
    memoryInfo: library.func('nvmlDeviceGetMemoryInfo', 'int', [P, P]),
    maxMigDevices: library.func('nvmlDeviceGetMaxMigDeviceCount', 'int', [P, outInt]),
    migDevice: library.func('nvmlDeviceGetMigDeviceHandleByIndex', 'int', [P, 'uint', outPointer]),
  };
}

/** NVML's texts are at most 96 bytes with their NUL. */
const TEXT_BYTES = 96;

function readText(read: (text: Uint8Array, bytes: number) => Status): string {
  const text = Buffer.alloc(TEXT_BYTES);
  if (read(text, TEXT_BYTES) !== 0) return '';
  const end = text.indexOf(0);
  return text.toString('utf8', 0, end < 0 ? TEXT_BYTES : end);
}

function describe(nvml: Functions, device: Device, index: number, mig: boolean): Gpu {
  const memory = new BigUint64Array(3);
  const known = nvml.memoryInfo(device, memory) === 0;
  return {
    index,
    uuid: readText((text, bytes) => nvml.uuid(device, text, bytes)),
    name: readText((text, bytes) => nvml.name(device, text, bytes)),
    memory: known ? { total: Number(memory[0]), free: Number(memory[1]) } : { total: 0, free: 0 },
    mig,
  };
}

function migInstances(nvml: Functions, device: Device, index: number): Gpu[] {
  const count: Out<number> = [null];
  if (nvml.maxMigDevices(device, count) !== 0) return [];
  const found: Gpu[] = [];
  for (let at = 0; at < (count[0] ?? 0); at += 1) {
    const out: Out<Device> = [null];
    if (nvml.migDevice(device, at, out) === 0 && out[0] !== null) found.push(describe(nvml, out[0], index, true));
  }
  return found;
}

export interface NvmlReport {
  driver: string;
  gpus: Gpu[];
}

/** What the driver's management library says, or null where it is not there or does not start. It makes no context. */
export function readNvml(): NvmlReport | null {
  const library = loadFirst(['libnvidia-ml.so.1']);
  if (library === null) return null;
  const nvml = bind(library);
  if (nvml.init() !== 0) return null;
  try {
    const count: Out<number> = [null];
    if (nvml.deviceCount(count) !== 0) return null;
    const gpus: Gpu[] = [];
    for (let index = 0; index < (count[0] ?? 0); index += 1) {
      const out: Out<Device> = [null];
      if (nvml.deviceByIndex(index, out) !== 0 || out[0] === null) continue;
      const instances = migInstances(nvml, out[0], index);
      // A GPU that is cut into instances runs nothing itself.
      gpus.push(...(instances.length > 0 ? instances : [describe(nvml, out[0], index, false)]));
    }
    return { driver: readText((text, bytes) => nvml.driverVersion(text, bytes)), gpus };
  } finally {
    nvml.shutdown();
  }
}
