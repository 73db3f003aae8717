import { OrtError } from './ort-error.js';

declare const kind: unique symbol;

/** A native pointer that remembers what it points to: a session is no value, though both are numbers to koffi. */
export type Pointer<Kind extends string> = bigint & { readonly [kind]: Kind };

/** The value of an out parameter: a one-element array that koffi fills. */
export type Out<T> = [T | null];

/** A pointer that must not be null; ONNX Runtime's out parameters are filled where the call succeeded. */
export function filled<T>(out: Out<T>, what: string): T {
  if (out[0] === null) throw new OrtError('fail', `${what} gave a null pointer`);
  return out[0];
}

/**
 * Owner of one native object: `close()` releases it once, `pointer` refuses afterwards. Nothing else may release it.
 */
export class Handle<Kind extends string> implements Disposable {
  readonly what: Kind;
  #pointer: Pointer<Kind> | null;
  readonly #release: (pointer: Pointer<Kind>) => void;

  constructor(what: Kind, pointer: Pointer<Kind>, release: (pointer: Pointer<Kind>) => void) {
    this.what = what;
    this.#pointer = pointer;
    this.#release = release;
  }

  /** Throws `closed` after `close()`. */
  get pointer(): Pointer<Kind> {
    if (this.#pointer === null) throw new OrtError('closed', `this ${this.what} is closed`, 'Create a new one.');
    return this.#pointer;
  }

  get closed(): boolean {
    return this.#pointer === null;
  }

  close(): void {
    const pointer = this.#pointer;
    this.#pointer = null;
    if (pointer !== null) this.#release(pointer);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export type EnvHandle = Handle<'Env'>;
export type SessionHandle = Handle<'Session'>;
export type SessionOptionsHandle = Handle<'SessionOptions'>;
export type RunOptionsHandle = Handle<'RunOptions'>;
export type ValueHandle = Handle<'Value'>;
export type BindingHandle = Handle<'IoBinding'>;
export type MemoryInfoHandle = Handle<'MemoryInfo'>;
/** What the sessions of one model on the CPU have laid out anew for their kernels, once for all. */
export type PrepackedHandle = Handle<'PrepackedWeights'>;
export type CudaOptionsHandle = Handle<'CudaProviderOptions'>;

/** Closes all in the given order, every one even if one throws; the first error is thrown at the end. */
export function closeAll(items: readonly ({ close(): void } | null | undefined)[]): void {
  let failure: unknown;
  let failed = false;
  for (const item of items) {
    try {
      item?.close();
    } catch (error) {
      if (!failed) failure = error;
      failed = true;
    }
  }
  if (failed) throw failure;
}
