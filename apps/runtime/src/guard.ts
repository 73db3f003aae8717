import { OrtError } from '@warmlane/ort';

/**
 * Wraps a method: when it fails with an error that leaves the process without a CUDA context, `poisoned` is told. Every
 * later call would fail alike, and only a new process helps. The error goes on to the caller.
 */
export function guarded<P extends unknown[], R>(
  method: (...params: P) => R | Promise<R>,
  poisoned: () => void,
): (...params: P) => R | Promise<R> {
  const fail = (error: unknown): never => {
    if (error instanceof OrtError && error.poisonsProcess) poisoned();
    throw error;
  };
  return (...params) => {
    try {
      const result = method(...params);
      return result instanceof Promise ? result.catch(fail) : result;
    } catch (error) {
      return fail(error);
    }
  };
}
