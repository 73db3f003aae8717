import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readCudaDriver } from '../native/cuda-driver.js';
import { cudnnVersion } from '../native/cuda-runtime.js';
import { whyNotLoadable } from '../native/dynamic-library.js';
import { type Gpu, readNvml } from '../native/nvml.js';
import { OrtError } from '../native/ort-error.js';
import type { OrtRuntime } from './ort-runtime.js';
import { NO_OPTIONS } from './session.js';
import { buildSessionOptions } from './session-options.js';

export type { Gpu } from '../native/nvml.js';

/** Whether this machine has an NVIDIA device at all, driver libraries or not. */
export function hasNvidiaDevice(): boolean {
  if (existsSync('/dev') && readdirSync('/dev').some((name) => /^nvidia[0-9]+$/.test(name))) return true;
  const listed = '/proc/driver/nvidia/gpus';
  return existsSync(listed) && readdirSync(listed).length > 0;
}

/** GPUs and MIG instances in PCI bus order; empty without a driver. Makes no CUDA context where NVML is there. */
export function listGpus(): Gpu[] {
  return readNvml()?.gpus ?? readCudaDriver() ?? [];
}

/** The version of the NVIDIA driver such as `580.65.06`, or null without one. */
export function nvidiaDriverVersion(): string | null {
  const driver = readNvml()?.driver;
  if (driver !== undefined && driver !== '') return driver;
  const file = '/proc/driver/nvidia/version';
  if (!existsSync(file)) return null;
  return /Kernel Module\s+(?:for \S+\s+)?([0-9.]+)/.exec(readFileSync(file, 'utf8'))?.[1] ?? null;
}

const HINT =
  "The package onnxruntime-node brings no CUDA provider: run './warmlane setup cuda', or set ORT_LIB_DIR to a build of ONNX Runtime with it, and LD_LIBRARY_PATH to CUDA 13 and cuDNN 9.";

/**
 * Why the CUDA provider cannot be used here, naming the exact missing library; null if it loads. cuDNN is asked for on
 * its own: the provider loads it only when a convolution wants it.
 */
export function cudaProblem(runtime: OrtRuntime): OrtError | null {
  const driver = whyNotLoadable('libcuda.so.1');
  if (driver !== null) return new OrtError('missing-library', `no NVIDIA driver: ${driver}`, 'Install the driver.');
  try {
    buildSessionOptions(runtime.api, {
      provider: 'cuda',
      options: NO_OPTIONS,
      device: 0,
      freeDimensions: {},
      config: {},
    }).handle.close();
  } catch (error) {
    if (!(error instanceof OrtError)) throw error;
    return error.reason === 'missing-library' ? new OrtError(error.reason, error.message, HINT) : error;
  }
  if (cudnnVersion() !== null) return null;
  return new OrtError('missing-library', `no cuDNN: ${whyNotLoadable('libcudnn.so.9') ?? 'libcudnn.so.9'}`, HINT);
}
