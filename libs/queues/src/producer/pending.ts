import type { ClassJob, WarmlaneError } from '@warmlane/contracts';
import type { Answer } from '@warmlane/redis';
import type { TypedQueue } from '../queue.factory.js';
import type { Route } from './route-table.js';

/** A request whose job is in a queue, or about to be, and that nobody has answered yet. */
export interface Pending {
  readonly request: string;
  readonly queue: TypedQueue<ClassJob>;
  readonly data: ClassJob;
  readonly route: Route;
  readonly answer: Promise<Answer>;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: WarmlaneError) => void;
  /** True once Redis confirmed the add. */
  accepted: boolean;
  /** True once the one repeat was added. */
  repeated: boolean;
}

/** Requests in flight by id. Each is settled once, by whatever comes first: answer, deadline, abort, Redis away. */
export class PendingRequests {
  readonly #byRequest = new Map<string, Pending>();

  get size(): number {
    return this.#byRequest.size;
  }

  get(request: string): Pending | undefined {
    return this.#byRequest.get(request);
  }

  has(pending: Pending): boolean {
    return this.#byRequest.get(pending.request) === pending;
  }

  all(): Pending[] {
    return [...this.#byRequest.values()];
  }

  open(request: string, queue: TypedQueue<ClassJob>, data: ClassJob, route: Route): Pending {
    const { promise, resolve, reject } = withResolvers<Answer>();
    const pending: Pending = {
      request,
      queue,
      data,
      route,
      answer: promise,
      resolve,
      reject,
      accepted: false,
      repeated: false,
    };
    this.#byRequest.set(request, pending);
    return pending;
  }

  /** An answer for a request that is not in flight here any more is dropped. */
  settle(request: string, answer: Answer): void {
    const pending = this.#byRequest.get(request);
    if (pending === undefined) return;
    this.#byRequest.delete(request);
    pending.resolve(answer);
  }

  /** False where it was settled before. */
  fail(pending: Pending, error: WarmlaneError): boolean {
    if (!this.has(pending)) return false;
    this.#byRequest.delete(pending.request);
    pending.reject(error);
    return true;
  }
}

/** Promise.withResolvers, which Node 20 does not have. */
function withResolvers<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: WarmlaneError) => void;
} {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: WarmlaneError) => void = () => undefined;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
