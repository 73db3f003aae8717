import koffi from 'koffi';
import { loadFirst } from './dynamic-library.js';
import type { Out } from './handle.js';
import type { Gpu } from './nvml.js';

/** The device list of the CUDA driver, for machines without NVML; it sees only CUDA_VISIBLE_DEVICES. Null without a driver. */
export function readCudaDriver(): Gpu[] | null {
  const library = loadFirst(['libcuda.so.1']);
  if (library === null) return null;
  const outInt = koffi.out(koffi.pointer('int'));
  const outSize = koffi.out(koffi.pointer('size_t'));
  const init = library.func('cuInit', 'int', ['uint']) as (flags: number) => number;
  const getCount = library.func('cuDeviceGetCount', 'int', [outInt]) as (out: Out<number>) => number;
  const getDevice = library.func('cuDeviceGet', 'int', [outInt, 'int']) as (out: Out<number>, at: number) => number;
  const getName = library.func('cuDeviceGetName', 'int', ['void *', 'int', 'int']) as (
    text: Uint8Array,
    bytes: number,
    device: number,
  ) => number;
  // The second version gives a MIG instance its own UUID.
  const getUuid = library.func('cuDeviceGetUuid_v2', 'int', ['void *', 'int']) as (
    uuid: Uint8Array,
    device: number,
  ) => number;
  const totalMemory = library.func('cuDeviceTotalMem_v2', 'int', [outSize, 'int']) as (
    out: Out<number>,
    device: number,
  ) => number;
  const count: Out<number> = [null];
  if (init(0) !== 0 || getCount(count) !== 0) return null;
  return Array.from({ length: count[0] ?? 0 }, (_, index) => {
    const device: Out<number> = [null];
    const name = Buffer.alloc(256);
    const uuid = Buffer.alloc(16);
    const total: Out<number> = [null];
    getDevice(device, index);
    const handle = device[0] ?? index;
    getName(name, name.length - 1, handle);
    getUuid(uuid, handle);
    totalMemory(total, handle);
    const text = name.toString('utf8', 0, name.indexOf(0));
    const mig = text.includes(' MIG ');
    return {
      index,
      uuid: `${mig ? 'MIG' : 'GPU'}-${formatUuid(uuid)}`,
      name: text,
      memory: { free: 0, total: total[0] ?? 0 },
      mig,
    };
  });
}

/** 16 bytes -> `8-4-4-4-12` hex digits. */
export function formatUuid(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
