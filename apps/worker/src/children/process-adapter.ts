import {
  type NamedTensor,
  type ReferenceHello,
  type ReferenceMethods,
  type RuntimeHello,
  type RuntimeMethods,
  WarmlaneError,
} from '@warmlane/contracts';
import type { MethodTable } from '@warmlane/ipc';
import { loadTensors, revive, type SlotReader, SlotTensor } from '@warmlane/shm';
import { type ProcessCall, type ProcessDown, type ProcessPort, processDeath, type RuntimePort } from '../ports.js';
import { type Death, RuntimeDied, RuntimeProcess } from '../processes/index.js';

/** The supervised process, as far as the port needs it. */
interface Supervised<M extends MethodTable<M>, Hello> {
  readonly hello: Hello | null;
  readonly events: {
    on(event: 'up', listener: (hello: Hello) => void): unknown;
    on(event: 'down', listener: (death: Death) => void): unknown;
    on(event: 'lost', listener: () => void): unknown;
    off(event: 'up', listener: (hello: Hello) => void): unknown;
    off(event: 'down', listener: (death: Death) => void): unknown;
  };
  start(): Promise<Hello>;
  stop(): Promise<void>;
  call<K extends keyof M & string>(method: K, params: M[K]['params'], options: ProcessCall): Promise<M[K]['result']>;
}

/** The error of a call whose process died under it, with how it died. */
class ProcessDied extends WarmlaneError {
  readonly [processDeath]: ProcessDown;

  constructor(cause: RuntimeDied) {
    super(cause.code, cause.message, cause.hint, { cause });
    this.name = 'ProcessDied';
    this[processDeath] = downOf(cause.death);
  }
}

function downOf({ code, signal, external, planned, serving, reason }: Death): ProcessDown {
  return { code, signal, external, planned, serving, reason };
}

/** Runs a call; a death of its process comes out as {@link ProcessDied}. */
export async function markDeath<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (thrown) {
    throw thrown instanceof RuntimeDied ? new ProcessDied(thrown) : thrown;
  }
}

/** A supervised process as the lanes and serving see it. */
export class ProcessAdapter<M extends MethodTable<M>, Hello> implements ProcessPort<M, Hello> {
  constructor(private readonly process: Supervised<M, Hello>) {}

  get hello(): Hello | null {
    return this.process.hello;
  }

  call<K extends keyof M & string>(method: K, params: M[K]['params'], options: ProcessCall): Promise<M[K]['result']> {
    return markDeath(this.process.call(method, params, options));
  }

  onUp(listener: (hello: Hello) => void): () => void {
    this.process.events.on('up', listener);
    if (this.process.hello !== null) listener(this.process.hello);
    return () => this.process.events.off('up', listener);
  }

  onDown(listener: (down: ProcessDown) => void): () => void {
    const wrapped = (death: Death): void => listener(downOf(death));
    this.process.events.on('down', wrapped);
    return () => this.process.events.off('down', wrapped);
  }

  onLost(listener: () => void): void {
    this.process.events.on('lost', listener);
  }

  start(): Promise<Hello> {
    return this.process.start();
  }

  close(): Promise<void> {
    return this.process.stop();
  }
}

/** A reference process reads no slots: it gets the bytes. */
export class ReferenceAdapter extends ProcessAdapter<ReferenceMethods, ReferenceHello> {
  override async call<K extends keyof ReferenceMethods & string>(
    method: K,
    params: ReferenceMethods[K]['params'],
    options: ProcessCall,
  ): Promise<ReferenceMethods[K]['result']> {
    if (!('inputs' in params) || !params.inputs.some(isInSlot)) return await super.call(method, params, options);
    return await super.call(method, { ...params, inputs: await loadTensors(params.inputs) }, options);
  }
}

/** The runtime, which can also be given a planned new life. It reads slots, and its large outputs come in them. */
export class RuntimeAdapter extends ProcessAdapter<RuntimeMethods, RuntimeHello> implements RuntimePort {
  constructor(
    private readonly runtime: RuntimeProcess,
    private readonly reader: SlotReader,
  ) {
    super(runtime);
  }

  override async call<K extends keyof RuntimeMethods & string>(
    method: K,
    params: RuntimeMethods[K]['params'],
    options: ProcessCall,
  ): Promise<RuntimeMethods[K]['result']> {
    const result = await super.call(method, params, options);
    reviveRun(result, this.reader);
    return result;
  }

  renew(): Promise<RuntimeHello> {
    return this.runtime.restart();
  }
}

/** Changes a run's outputs in place: what came as a reference can be read. */
function reviveRun(result: RuntimeMethods[keyof RuntimeMethods]['result'], reader: SlotReader): void {
  if ('computeMs' in result && 'outputs' in result) result.outputs = revive(result.outputs, reader);
  else if ('items' in result) result.items = result.items.map((outputs) => revive(outputs, reader));
}

function isInSlot(tensor: NamedTensor): boolean {
  return tensor instanceof SlotTensor;
}
