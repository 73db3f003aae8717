import { tmpdir } from 'node:os';
import { CUDA_ENVIRONMENT, type RuntimeHello, type RuntimeMethods } from '@warmlane/contracts';
import { type Child, spawnChild } from '@warmlane/ipc';
import { type Environment, RUNTIME_PROGRAM } from './child-programs.js';
import type { ChildEvents } from './process-life.js';
import { SupervisedProcess, type SupervisionOptions } from './supervised-process.js';

/** `cpu`, or what CUDA_VISIBLE_DEVICES takes for one device: an index in PCI order, `GPU-<uuid>` or `MIG-<uuid>`. */
export type RuntimeDevice = { provider: 'cpu' } | { provider: 'cuda'; visible: string };

export interface RuntimeProgramOptions {
  device: RuntimeDevice;
  /** This process's environment. */
  env: Environment;
  /** Folder of another ONNX Runtime build, with its providers; null: the installed package. */
  ortLibDir: string | null;
  logLevel?: string;
  /** How far it gives way to other processes, 1 to 19; default: not at all. */
  niceness?: number;
  /** The tmpfs of large tensors, and the runtime's share of it; left out: it hands none out. */
  sharedMemory?: { dir: string; limitBytes: number | null };
}

export interface RuntimeProcessOptions extends RuntimeProgramOptions, SupervisionOptions {}

/** The process that owns the device: every lane lives and dies with it. */
export class RuntimeProcess extends SupervisedProcess<RuntimeMethods, RuntimeHello> {
  constructor(options: RuntimeProcessOptions) {
    super({ name: 'runtime', blocks: blocksRuntime }, () => spawnRuntime('runtime', options), options);
  }

  /** Orderly end: lanes released in order; see {@link SupervisedProcess.close}. */
  stop(): Promise<void> {
    return this.close('close', {});
  }

  /** A planned new life, for memory that the process does not give back; see {@link SupervisedProcess.renew}. */
  restart(): Promise<RuntimeHello> {
    return this.renew('close', {});
  }
}

/** A run holds the serving thread; everything else goes to pool threads, or is short, or yields between its runs. */
export function blocksRuntime(method: string): boolean {
  return method === 'lane.run' || method === 'lane.items';
}

/** `trial` is the same program without the device's lock: it works beside the runtime that holds it. */
export function spawnRuntime(
  role: 'runtime' | 'trial',
  { device, env, ortLibDir, logLevel, niceness, sharedMemory }: RuntimeProgramOptions,
): Child<RuntimeMethods, ChildEvents<RuntimeHello>> {
  return spawnChild<RuntimeMethods, ChildEvents<RuntimeHello>>({
    entry: RUNTIME_PROGRAM,
    role,
    args: [
      '--provider',
      device.provider,
      '--parent',
      String(process.pid),
      '--locks',
      tmpdir(),
      ...(logLevel === undefined ? [] : ['--log-level', logLevel]),
      ...(niceness === undefined ? [] : ['--nice', String(niceness)]),
      ...slotArgs(sharedMemory),
    ],
    env: {
      ...env,
      ORT_LIB_DIR: ortLibDir ?? undefined,
      // Of the threads that native calls wait on: lanes being created take up to four, requests without a lane need theirs.
      UV_THREADPOOL_SIZE: env.UV_THREADPOOL_SIZE ?? '8',
      CUDA_DEVICE_ORDER: CUDA_ENVIRONMENT.CUDA_DEVICE_ORDER,
      CUDA_VISIBLE_DEVICES: device.provider === 'cuda' ? device.visible : '-1',
      CUBLAS_WORKSPACE_CONFIG: env.CUBLAS_WORKSPACE_CONFIG ?? CUDA_ENVIRONMENT.CUBLAS_WORKSPACE_CONFIG,
    },
  });
}

function slotArgs(sharedMemory: RuntimeProgramOptions['sharedMemory']): string[] {
  if (sharedMemory === undefined) return [];
  const { dir, limitBytes } = sharedMemory;
  return ['--shm-dir', dir, ...(limitBytes === null ? [] : ['--shm-limit', String(limitBytes)])];
}
