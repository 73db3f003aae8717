import { check, type OrtApi } from '../native/api.js';
import {
  type BindingHandle,
  filled,
  Handle,
  type MemoryInfoHandle,
  type Out,
  type Pointer,
  type RunOptionsHandle,
  type ValueHandle,
} from '../native/handle.js';
import { defaultAllocator, takeValues } from '../native/value.js';
import { requireTaken } from './session-options.js';

/**
 * Which values a session's inputs and outputs use. The binding keeps no value alive: whoever binds a value closes the
 * binding first.
 */
export class IoBinding implements Disposable {
  readonly #api: OrtApi;
  readonly #handle: BindingHandle;

  constructor(api: OrtApi, session: Pointer<'Session'>) {
    const out: Out<Pointer<'IoBinding'>> = [null];
    check(api, api.createIoBinding(session, out));
    this.#api = api;
    this.#handle = new Handle('IoBinding', filled(out, 'CreateIoBinding'), api.releaseIoBinding);
  }

  get pointer(): Pointer<'IoBinding'> {
    return this.#handle.pointer;
  }

  /** The input is read from this value, host or device, at each run. */
  bindInput(name: string, value: ValueHandle): void {
    check(this.#api, this.#api.bindInput(this.pointer, name, value.pointer));
  }

  /** The output is written into this value; a run whose output has other dims fails. */
  bindOutput(name: string, value: ValueHandle): void {
    check(this.#api, this.#api.bindOutput(this.pointer, name, value.pointer));
  }

  /** The output is allocated by ONNX Runtime at each run, in this memory. */
  bindOutputTo(name: string, where: MemoryInfoHandle): void {
    check(this.#api, this.#api.bindOutputToDevice(this.pointer, name, where.pointer));
  }

  /** Waits until bound inputs that had to be copied to the device are there. */
  synchronizeInputs(): void {
    check(this.#api, this.#api.synchronizeBoundInputs(this.pointer));
  }

  /** Waits until the outputs of the last run are where they were bound to. */
  synchronizeOutputs(): void {
    check(this.#api, this.#api.synchronizeBoundOutputs(this.pointer));
  }

  /** The values of all bound outputs in the order of their binding. Each has to be closed. */
  outputValues(): ValueHandle[] {
    const values: Out<bigint> = [null];
    const count: Out<number> = [null];
    check(this.#api, this.#api.getBoundOutputValues(this.pointer, defaultAllocator(this.#api), values, count));
    return values[0] === null ? [] : takeValues(this.#api, values[0], count[0] ?? 0);
  }

  close(): void {
    this.#handle.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Run options with their config entries, each read back. Throws `option-not-taken`. */
export function createRunOptions(api: OrtApi, entries: Readonly<Record<string, string>>): RunOptionsHandle {
  const out: Out<Pointer<'RunOptions'>> = [null];
  check(api, api.createRunOptions(out));
  const handle: RunOptionsHandle = new Handle('RunOptions', filled(out, 'CreateRunOptions'), api.releaseRunOptions);
  try {
    for (const [key, value] of Object.entries(entries)) {
      check(api, api.addRunConfigEntry(handle.pointer, key, value));
      requireTaken(key, value, api.getRunConfigEntry(handle.pointer, key) ?? undefined);
    }
  } catch (error) {
    handle.close();
    throw error;
  }
  return handle;
}
