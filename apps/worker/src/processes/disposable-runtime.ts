import type { RuntimeHello, RuntimeMethods } from '@warmlane/contracts';
import type { Death } from './process-errors.js';
import { type ProcessCallOptions, ProcessLife } from './process-life.js';
import { blocksRuntime, type RuntimeProgramOptions, spawnRuntime } from './runtime-process.js';

export interface DisposableRuntimeOptions extends RuntimeProgramOptions {
  helloTimeoutMs?: number;
  killTimeoutMs?: number;
}

/** A runtime for one trial: never started again, its death is a result. */
export interface DisposableRuntime extends AsyncDisposable {
  readonly hello: RuntimeHello;
  readonly pid: number;
  readonly death: Promise<Death>;
  call<K extends keyof RuntimeMethods>(
    method: K,
    params: RuntimeMethods[K]['params'],
    options: ProcessCallOptions,
  ): Promise<RuntimeMethods[K]['result']>;
  /** Kills it: nothing in it is worth an orderly end. Resolves when it is gone (or lost). */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Resolves when it is up; rejects with its refusal or `RuntimeDied`. Use with `await using`. */
export async function disposableRuntime(options: DisposableRuntimeOptions): Promise<DisposableRuntime> {
  const life = new ProcessLife<RuntimeMethods, RuntimeHello>(spawnRuntime('trial', options), {
    name: 'trial',
    blocks: blocksRuntime,
    helloTimeoutMs: options.helloTimeoutMs ?? 60_000,
    killTimeoutMs: options.killTimeoutMs ?? 10_000,
  });
  const dispose = async (): Promise<void> => {
    life.kill('the trial is over');
    await Promise.race([life.death, life.lost]);
  };
  try {
    const hello = await life.hello;
    return {
      hello,
      pid: life.pid,
      death: life.death,
      call: (method, params, callOptions) => life.call(method, params, callOptions),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}
