import type { ReferenceHello, ReferenceMethods } from '@warmlane/contracts';
import { spawnChild } from '@warmlane/ipc';
import { type Environment, REFERENCE_PROGRAM } from './child-programs.js';
import type { ChildEvents } from './process-life.js';
import { SupervisedProcess, type SupervisionOptions } from './supervised-process.js';

export interface ReferenceProcessOptions extends SupervisionOptions {
  /** This process's environment. ORT_LIB_DIR is taken out: another build of ONNX Runtime beside its own does not load. */
  env: Environment;
  /** Where references are kept (`reference` only); null: nowhere. */
  referencesFolder: string | null;
  /** Bound of that folder in bytes. Default 2 GiB. */
  referencesBytes?: number;
  logLevel?: string;
}

/** The `reference` or the `fallback` process of a worker: onnxruntime-node on the CPU. */
export class ReferenceProcess extends SupervisedProcess<ReferenceMethods, ReferenceHello> {
  constructor(
    readonly role: ReferenceHello['role'],
    options: ReferenceProcessOptions,
  ) {
    const args = [
      ...(options.referencesFolder === null ? [] : ['--references', options.referencesFolder]),
      ...(options.referencesBytes === undefined ? [] : ['--references-bytes', String(options.referencesBytes)]),
      ...(options.logLevel === undefined ? [] : ['--log-level', options.logLevel]),
    ];
    const env = { ...options.env, ORT_LIB_DIR: undefined, CUDA_VISIBLE_DEVICES: '-1' };
    super(
      // onnxruntime-node loads and runs on the one thread that there is.
      { name: role, blocks: () => true },
      () => spawnChild<ReferenceMethods, ChildEvents<ReferenceHello>>({ entry: REFERENCE_PROGRAM, role, args, env }),
      options,
    );
  }

  /** Orderly end; see {@link SupervisedProcess.close}. */
  stop(): Promise<void> {
    return this.close('close', {});
  }
}
