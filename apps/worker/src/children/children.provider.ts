import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { ReferenceHello, ReferenceMethods, RuntimeHello } from '@warmlane/contracts';
import type { Logger } from '@warmlane/observability';
import { SHARERS_PER_DEVICE, SharedMemory } from '@warmlane/shm';
import { LOGGER } from '../logger.js';
import type { TrialRuntime, TrialsPort } from '../ports.js';
import {
  disposableRuntime,
  ReferenceProcess,
  type RuntimeDevice,
  RuntimeProcess,
  type RuntimeProgramOptions,
} from '../processes/index.js';
import { WORKER_CONFIG, type WorkerConfig } from '../worker.config.js';
import { markDeath, ProcessAdapter, ReferenceAdapter, RuntimeAdapter } from './process-adapter.js';

/** Injects the device that this worker is for. */
export const DEVICE = Symbol('RuntimeDevice');

/** The supervised children of this worker, and disposable runtimes. */
@Injectable()
export class Children implements TrialsPort {
  /** For tensors to the runtime, and to producers of this host. */
  readonly memory: SharedMemory;
  readonly runtime: RuntimeAdapter;
  readonly reference: ProcessAdapter<ReferenceMethods, ReferenceHello>;
  readonly fallback: ProcessAdapter<ReferenceMethods, ReferenceHello>;
  private readonly program: RuntimeProgramOptions;

  constructor(
    @Inject(WORKER_CONFIG) config: WorkerConfig,
    @Inject(DEVICE) device: RuntimeDevice,
    @Inject(LOGGER) logger: Logger,
  ) {
    const { env, logLevel, sharedMemory } = config;
    this.memory = new SharedMemory({ ...sharedMemory, sharers: SHARERS_PER_DEVICE, log: logger });
    this.program = { device, env, ortLibDir: config.ortLibDir, logLevel, sharedMemory };
    const references = join(config.data, 'references');
    this.runtime = new RuntimeAdapter(new RuntimeProcess(this.program), this.memory.reader);
    this.reference = new ReferenceAdapter(
      new ReferenceProcess('reference', { env, referencesFolder: references, logLevel }),
    );
    this.fallback = new ReferenceAdapter(new ReferenceProcess('fallback', { env, referencesFolder: null, logLevel }));
  }

  /** All three at once; rejects with the refusal of the first that cannot run here. */
  async start(): Promise<RuntimeHello> {
    const [hello] = await Promise.all([this.runtime.start(), this.reference.start(), this.fallback.start()]);
    return hello;
  }

  async open(options: { niceness?: number } = {}): Promise<TrialRuntime> {
    const trial = await markDeath(disposableRuntime({ ...this.program, ...options }));
    return {
      hello: trial.hello,
      call: (method, params, options) => markDeath(trial.call(method, params, options)),
      [Symbol.asyncDispose]: () => trial[Symbol.asyncDispose](),
    };
  }

  async close(): Promise<void> {
    await Promise.all([this.runtime.close(), this.reference.close(), this.fallback.close()]);
    this.memory.close();
  }
}
