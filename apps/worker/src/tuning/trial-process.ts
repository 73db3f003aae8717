import { readFile } from 'node:fs/promises';
import { type RuntimeMethods, type TuningOutcome, WarmlaneError } from '@warmlane/contracts';
import { isProcessDeath, type TrialRuntime, type TrialsPort } from '../ports.js';

/** Trials give way to everything else on the machine. */
const NICENESS = 10;
const LOOK_AT_MEMORY_MS = 200;
const PAGE_BYTES = 4_096;

/** The process is gone, and so is what was tried in it. */
export class TrialOver extends WarmlaneError {
  constructor(
    readonly outcome: Extract<TuningOutcome, 'crashed' | 'timed-out' | 'over-memory'>,
    reason: string,
    readonly signal: string | null = null,
  ) {
    super('internal', reason);
  }
}

/** ONNX Runtime or the runtime refused a step; the process goes on. */
export class TrialRefused extends WarmlaneError {
  constructor(override readonly cause: WarmlaneError) {
    super('internal', cause.message, cause.hint, { cause });
  }
}

export interface TrialProcessOptions {
  trials: TrialsPort;
  /** Resident bytes at which it is ended; null where the device's own memory is limited instead. */
  memoryBytes: number | null;
  signal: AbortSignal;
}

/** A disposable runtime in the background, with a limit of time and memory. Its death is a result. */
export class TrialProcess implements AsyncDisposable {
  #over: TrialOver | null = null;

  private constructor(
    private readonly runtime: TrialRuntime,
    private readonly options: TrialProcessOptions,
  ) {}

  /** A process that dies before it is up says nothing about candidates: another one is started, once. */
  static async open(options: TrialProcessOptions): Promise<TrialProcess> {
    const open = () => options.trials.open({ niceness: NICENESS });
    const runtime = await open().catch((thrown: unknown) => {
      if (isProcessDeath(thrown) === null) throw thrown;
      return open();
    });
    return new TrialProcess(runtime, options);
  }

  get pid(): number {
    return this.runtime.hello.pid;
  }

  /**
   * Runs steps within a limit; past it, past its memory and at the abort signal the process is killed. Rejects with
   * {@link TrialOver} where it is gone, with `canceled` at the signal.
   */
  async within<T>(limitMs: number, steps: () => Promise<T>): Promise<T> {
    const { signal } = this.options;
    if (signal.aborted) throw ended();
    const kill = (over: TrialOver | null): void => {
      this.#over ??= over;
      void this.runtime[Symbol.asyncDispose]();
    };
    const timer = setTimeout(() => kill(new TrialOver('timed-out', `it took more than ${limitMs} ms`)), limitMs);
    const watch = setInterval(() => void this.#watchMemory(kill), LOOK_AT_MEMORY_MS);
    const abort = (): void => kill(null);
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await steps();
    } catch (thrown) {
      if (signal.aborted) throw ended();
      if (this.#over !== null) throw this.#over;
      const death = isProcessDeath(thrown);
      if (death !== null) throw new TrialOver('crashed', death.reason, death.signal);
      throw thrown;
    } finally {
      clearTimeout(timer);
      clearInterval(watch);
      signal.removeEventListener('abort', abort);
    }
  }

  /** One step. Rejects with {@link TrialRefused} where it is refused, as {@link within} tells a death. */
  async call<K extends keyof RuntimeMethods & string>(
    method: K,
    params: RuntimeMethods[K]['params'],
    timeoutMs: number,
  ): Promise<RuntimeMethods[K]['result']> {
    try {
      return await this.runtime.call(method, params, { timeoutMs });
    } catch (thrown) {
      if (isProcessDeath(thrown) !== null || !(thrown instanceof WarmlaneError)) throw thrown;
      throw new TrialRefused(thrown);
    }
  }

  async #watchMemory(kill: (over: TrialOver) => void): Promise<void> {
    const { memoryBytes } = this.options;
    if (memoryBytes === null) return;
    const statm = await readFile(`/proc/${this.runtime.hello.pid}/statm`, 'utf8').catch(() => '');
    const resident = Number(statm.split(' ')[1]) * PAGE_BYTES;
    if (resident > memoryBytes) {
      kill(new TrialOver('over-memory', `it took ${resident} bytes, ${memoryBytes} are left for trials`));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime[Symbol.asyncDispose]();
  }
}

function ended(): WarmlaneError {
  return new WarmlaneError('canceled', 'the tuning was ended');
}
