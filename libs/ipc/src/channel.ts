import type { Duplex } from 'node:stream';
import { WarmlaneError } from '@warmlane/contracts';
import { DEFAULT_FRAME_LIMITS, type Frame, type FrameLimits, FrameReader } from './frame.js';
import { decodeMessage, encodeMessage, type Message } from './message.js';

/** Constraint for a table of methods: every entry names its params and its result. */
export type MethodTable<M> = { [K in keyof M]: { params: unknown; result: unknown } };

export interface CallOptions {
  /** The call rejects with {@link CallTimeout} after this, and the peer's handler sees its signal abort. Default: never. */
  timeoutMs?: number;
  /** Aborting rejects the call with `canceled`, and the peer's handler sees its signal abort. */
  signal?: AbortSignal;
}

export interface CallContext {
  /** Aborts when the caller gave up or the channel closed. */
  readonly signal: AbortSignal;
}

/** Makes the signal only for the handler that asks for one: it costs as much as the rest of a short call. */
class ServedCall implements CallContext {
  #controller: AbortController | null = null;
  #aborted = false;

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#aborted) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  abort(): void {
    this.#aborted = true;
    this.#controller?.abort();
  }
}

export interface HandleOptions {
  /**
   * The bytes of params are looked at only until the call is answered, and are no part of the answer: their memory is
   * used again. Fresh memory of a large tensor costs more than its copy.
   */
  borrow?: true;
}

interface Handler {
  run: (params: unknown, context: CallContext) => unknown;
  borrow: boolean;
}

/** The call's own limit passed. What the peer does with it is not known. */
export class CallTimeout extends WarmlaneError {
  constructor(
    readonly method: string,
    readonly timeoutMs: number,
  ) {
    super('deadline-exceeded', `'${method}' was not answered within ${timeoutMs} ms`, 'Raise the limit or retry.');
    this.name = 'CallTimeout';
  }
}

/** The channel is closed. `broken`: the peer sent something that is no message, and may still live. */
export class ChannelClosed extends WarmlaneError {
  constructor(
    readonly kind: 'peer-gone' | 'broken' | 'closed-here',
    reason: string,
    cause?: unknown,
  ) {
    super('worker-gone', `the channel to the other process is closed: ${reason}`, 'Retry once it is back.', { cause });
    this.name = 'ChannelClosed';
  }
}

/** Registers the receiver of a stream's chunks. A chunk's memory is not looked at after the receiver returned. */
export type OnChunk = (receive: (chunk: Buffer) => void) => void;

interface Pending {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
  settle: () => void;
}

/**
 * Requests, answers and events in both directions over one byte stream. `Methods` are those that one side calls and the
 * other handles; `Events` maps an event's name to its value. Uint8Array values anywhere in params, results and events
 * travel as raw bytes; on receipt they start at multiples of 64 bytes. Handlers of one channel start in the order of
 * their calls; a handler that returns no promise is answered before the next message is read.
 */
export class Channel<Methods extends MethodTable<Methods>, Events = Record<never, never>> {
  readonly #stream: Duplex;
  readonly #limits: FrameLimits = DEFAULT_FRAME_LIMITS;
  readonly #reader = new FrameReader(DEFAULT_FRAME_LIMITS);
  readonly #handlers = new Map<string, Handler>();
  readonly #listeners = new Map<string, Set<(value: unknown) => void>>();
  readonly #pending = new Map<number, Pending>();
  readonly #serving = new Map<number, ServedCall>();
  readonly #closeListeners = new Set<(reason: ChannelClosed) => void>();
  #closed: ChannelClosed | null = null;
  #nextId = 1;

  /** `onChunk` registers for what the stream reads, where that is not its `data` event. */
  constructor(stream: Duplex, onChunk: OnChunk = (receive) => stream.on('data', receive)) {
    this.#stream = stream;
    onChunk((chunk) => this.#read(chunk));
    const gone = (error?: Error): void =>
      this.#close(new ChannelClosed('peer-gone', error?.message ?? 'the other process went away', error));
    stream.on('end', () => gone());
    stream.on('close', () => gone());
    // EPIPE and ECONNRESET: a socket pair has no other errors.
    stream.on('error', gone);
  }

  /** Why the channel is closed; null while it is open. */
  get closed(): ChannelClosed | null {
    return this.#closed;
  }

  /** Calls in flight to the peer. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /** Rejects with the peer's WarmlaneError, {@link CallTimeout}, {@link ChannelClosed}, or `canceled`. */
  call<K extends keyof Methods & string>(
    method: K,
    params: Methods[K]['params'],
    options: CallOptions = {},
  ): Promise<Methods[K]['result']> {
    return new Promise<Methods[K]['result']>((resolve, reject) => {
      if (this.#closed !== null) throw this.#closed;
      if (options.signal?.aborted === true) throw canceled(method);
      const id = this.#nextId++;
      this.#send({ kind: 'call', id, method, value: params });
      this.#track(id, method, options, (value) => resolve(value as Methods[K]['result']), reject);
    });
  }

  /** Answers calls of `method`. Whatever it throws reaches the caller as a WarmlaneError. One handler per method. */
  handle<K extends keyof Methods & string>(
    method: K,
    handler: (
      params: Methods[K]['params'],
      context: CallContext,
    ) => Methods[K]['result'] | Promise<Methods[K]['result']>,
    options: HandleOptions = {},
  ): void {
    if (this.#handlers.has(method)) throw new WarmlaneError('internal', `method '${method}' has a handler already`);
    this.#handlers.set(method, {
      run: (params, context) => handler(params as Methods[K]['params'], context),
      borrow: options.borrow === true,
    });
  }

  /** Sends an event; without effect once the channel is closed. */
  emit<K extends keyof Events & string>(event: K, value: Events[K]): void {
    if (this.#closed === null) this.#send({ kind: 'event', event, value });
  }

  /** Returns a function that takes the listener off again. */
  on<K extends keyof Events & string>(event: K, listener: (value: Events[K]) => void): () => void {
    const wrapped = (value: unknown): void => listener(value as Events[K]);
    const set = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, set.add(wrapped));
    return () => set.delete(wrapped);
  }

  /** Called once, at once when it is closed already. */
  onClose(listener: (reason: ChannelClosed) => void): void {
    if (this.#closed !== null) listener(this.#closed);
    else this.#closeListeners.add(listener);
  }

  /** Waits until all that was sent is with the kernel. Never rejects: a closed channel has nothing to send. */
  async flush(): Promise<void> {
    if (this.#closed !== null) return;
    await new Promise<void>((resolve) => {
      this.#stream.write(Buffer.alloc(0), () => resolve());
    });
  }

  close(): void {
    this.#close(new ChannelClosed('closed-here', 'closed by this process'));
  }

  #track(
    id: number,
    method: string,
    { timeoutMs, signal }: CallOptions,
    resolve: (value: unknown) => void,
    reject: (error: Error) => void,
  ): void {
    const giveUp = (error: Error): void => {
      this.#pending.delete(id);
      pending.settle();
      if (this.#closed === null) this.#send({ kind: 'cancel', id });
      reject(error);
    };
    const onAbort = (): void => giveUp(canceled(method));
    // Timers of a loop that was held up fire before its input is read: the answer may be there already.
    const onTimeout = (): void => {
      setImmediate(() => {
        if (this.#pending.has(id)) giveUp(new CallTimeout(method, timeoutMs ?? 0));
      });
    };
    const timer = timeoutMs === undefined ? null : setTimeout(onTimeout, timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    const pending: Pending = {
      resolve,
      reject,
      settle: () => {
        if (timer !== null) clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      },
    };
    this.#pending.set(id, pending);
  }

  #read(chunk: Buffer): void {
    if (this.#closed !== null) return;
    const received: { message: Message; frame: Frame }[] = [];
    let broken: unknown = null;
    try {
      this.#reader.push(chunk, (frame) => received.push({ message: decodeMessage(frame), frame }));
    } catch (error) {
      broken = error;
    }
    for (const { message, frame } of received) if (this.#closed === null) this.#receive(message, frame.attachments);
    if (broken !== null) this.#close(new ChannelClosed('broken', WarmlaneError.from(broken).message, broken));
  }

  #receive(message: Message, attachments: readonly Uint8Array[]): void {
    switch (message.kind) {
      case 'call':
        this.#serve(message.id, message.method, message.value, attachments);
        return;
      case 'cancel':
        this.#serving.get(message.id)?.abort();
        return;
      case 'event':
        for (const listener of this.#listeners.get(message.event) ?? []) listener(message.value);
        return;
      case 'result':
      case 'error': {
        const pending = this.#pending.get(message.id);
        if (pending === undefined) return;
        this.#pending.delete(message.id);
        pending.settle();
        if (message.kind === 'result') pending.resolve(message.value);
        else pending.reject(WarmlaneError.fromBody(message.error));
        return;
      }
    }
  }

  #serve(id: number, method: string, params: unknown, attachments: readonly Uint8Array[]): void {
    const handler = this.#handlers.get(method);
    if (handler === undefined) {
      this.#fail(id, new WarmlaneError('not-supported', `the other process has no method '${method}'`, 'Build again.'));
      return;
    }
    const served = new ServedCall();
    this.#serving.set(id, served);
    const done = (): void => {
      if (handler.borrow) this.#reader.recycle(attachments);
    };
    let result: unknown;
    try {
      result = handler.run(params, served);
    } catch (error) {
      this.#fail(id, error);
      done();
      return;
    }
    if (result instanceof Promise) {
      result
        .then(
          (value: unknown) => this.#answer(id, value),
          (error: unknown) => this.#fail(id, error),
        )
        .then(done, done);
    } else {
      this.#answer(id, result);
      done();
    }
  }

  #answer(id: number, value: unknown): void {
    this.#serving.delete(id);
    if (this.#closed !== null) return;
    try {
      this.#send({ kind: 'result', id, value });
    } catch (error) {
      this.#fail(id, error);
    }
  }

  #fail(id: number, error: unknown): void {
    this.#serving.delete(id);
    if (this.#closed === null) this.#send({ kind: 'error', id, error: WarmlaneError.from(error).toBody() });
  }

  #send(message: Message): void {
    const parts = encodeMessage(message, this.#limits);
    const [only] = parts;
    if (parts.length === 1) this.#stream.write(only);
    else {
      this.#stream.cork();
      for (const part of parts) this.#stream.write(part);
      this.#stream.uncork();
    }
  }

  #close(reason: ChannelClosed): void {
    if (this.#closed !== null) return;
    this.#closed = reason;
    this.#stream.destroy();
    for (const pending of this.#pending.values()) {
      pending.settle();
      pending.reject(reason);
    }
    this.#pending.clear();
    for (const served of this.#serving.values()) served.abort();
    this.#serving.clear();
    for (const listener of this.#closeListeners) listener(reason);
    this.#closeListeners.clear();
  }
}

function canceled(method: string): WarmlaneError {
  return new WarmlaneError('canceled', `'${method}' was canceled by its caller`);
}
