import { type ErrorBody, RUNTIME_EXIT, WarmlaneError } from '@warmlane/contracts';
import { ChannelClosed, type Child, type ChildExit, type MethodTable } from '@warmlane/ipc';
import { type Death, RuntimeDied } from './process-errors.js';

/** What a child says first: that it is up, or why it cannot be. */
export interface ChildEvents<Hello> {
  hello: Hello;
  refused: ErrorBody;
}

export interface LifeOptions {
  /** For messages: `runtime`, `reference`, ... */
  name: string;
  /** The child must say hello within this. */
  helloTimeoutMs: number;
  /** A child that is not gone so long after SIGKILL sits in the driver: the device is lost. */
  killTimeoutMs: number;
  /** Whether a method keeps the child's one thread until it is answered: calls behind it wait, through no fault of theirs. */
  blocks: (method: string) => boolean;
}

export interface ProcessCallOptions {
  /**
   * The watchdog: a call past this costs the process its life. It counts from the moment when the calls that were sent
   * before it, and block, are answered.
   */
  timeoutMs: number;
  /** What is run is a request's; see {@link Death.serving}. Default false. */
  serves?: boolean;
  /** Aborting gives up the answer; the process lives on. */
  signal?: AbortSignal;
}

/** A process whose channel ended gets so long to be gone. */
const DYING_MS = 3000;

/** One life of a child process: from its start over its hello to its death. */
export class ProcessLife<Methods extends MethodTable<Methods>, Hello> {
  readonly pid: number;
  /** Rejects with the child's own refusal, or {@link RuntimeDied}. */
  readonly hello: Promise<Hello>;
  /** Resolves when the process is gone; never rejects. */
  readonly death: Promise<Death>;
  /** Resolves (never otherwise) when the process does not go away after SIGKILL. */
  readonly lost: Promise<void>;
  readonly #child: Child<Methods, ChildEvents<Hello>>;
  readonly #options: LifeOptions;
  readonly #begunMs = performance.now();
  readonly #blocking = new Set<Promise<unknown>>();
  /** Calls in flight that run requests. */
  #serving = 0;
  #killReason: string | null = null;
  /** Set once the watchdog ended it: whether the call it waited for was a request's. */
  #hungServing: boolean | null = null;
  #closing = false;
  #reportLost: () => void = () => undefined;

  constructor(child: Child<Methods, ChildEvents<Hello>>, options: LifeOptions) {
    this.#child = child;
    this.#options = options;
    this.pid = child.pid;
    this.death = child.exited.then((exit) => this.#died(exit));
    this.lost = new Promise((resolve) => {
      this.#reportLost = resolve;
    });
    this.hello = this.#awaitHello();
    // Whoever does not ask for the hello learns of the death.
    this.hello.catch(() => undefined);
    child.channel.onClose((reason) => this.#channelClosed(reason));
  }

  get closing(): boolean {
    return this.#closing;
  }

  get inFlight(): number {
    return this.#child.channel.inFlight;
  }

  /** Rejects with the child's WarmlaneError, with {@link RuntimeDied}, or `canceled`. */
  async call<K extends keyof Methods & string>(
    method: K,
    params: Methods[K]['params'],
    options: ProcessCallOptions,
  ): Promise<Methods[K]['result']> {
    const answer = this.#child.channel.call(method, params, options.signal ? { signal: options.signal } : {});
    const stopWatch = this.#watch(method, options, [...this.#blocking]);
    const serves = options.serves === true;
    if (serves) this.#serving += 1;
    if (this.#options.blocks(method)) {
      const settled: Promise<unknown> = answer.catch(() => undefined);
      this.#blocking.add(settled);
      void settled.then(() => this.#blocking.delete(settled));
    }
    try {
      return await answer;
    } catch (error) {
      if (!(error instanceof ChannelClosed)) throw error;
      throw new RuntimeDied(this.#options.name, await this.#deathOrLost());
    } finally {
      // Not before the death is known: it says who was in flight.
      if (serves) this.#serving -= 1;
      stopWatch();
    }
  }

  /** SIGKILL, for a reason of this worker's. */
  kill(reason: string): void {
    if (this.#killReason !== null) return;
    this.#killReason = reason;
    this.#child.kill('SIGKILL');
    const timer = setTimeout(() => {
      this.#reportLost();
      // Ends the calls in flight.
      this.#child.channel.close();
    }, this.#options.killTimeoutMs);
    void this.#child.exited.then(() => clearTimeout(timer));
  }

  /**
   * Asks the process to close and waits `limitMs`, then kills it. `method` is its close method. Resolves when it is
   * gone, or lost.
   */
  async close(
    method: keyof Methods & string,
    params: Methods[typeof method]['params'],
    limitMs: number,
  ): Promise<void> {
    this.#closing = true;
    const timer = setTimeout(() => this.kill(`not closed within ${limitMs} ms`), limitMs);
    try {
      await this.#child.channel.call(method, params, { timeoutMs: limitMs }).catch((error: unknown) => {
        if (!(error instanceof ChannelClosed)) this.kill('its close failed');
      });
      await Promise.race([this.death, this.lost]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Kills the process when the limit is over; returns a function that takes that back. */
  #watch(
    method: string,
    { timeoutMs, serves = false }: ProcessCallOptions,
    ahead: readonly Promise<unknown>[],
  ): () => void {
    let stopped = false;
    let timer: NodeJS.Timeout | undefined;
    const expire = (): void => {
      if (stopped) return;
      if (this.#killReason === null) this.#hungServing = serves;
      this.kill(`'${method}' was not answered within ${timeoutMs} ms`);
    };
    const begin = (): void => {
      // Timers of a loop that was held up fire before its input is read: the answer may be there already.
      if (!stopped) timer = setTimeout(() => setImmediate(expire), timeoutMs);
    };
    if (ahead.length === 0) begin();
    else void Promise.all(ahead).then(begin);
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }

  /**
   * A process that dies closes its channel first, and is gone soon after (releasing a CUDA context takes up to a second):
   * a kill from here must not hide what it died of. Only one that lives on is killed.
   */
  #channelClosed(reason: ChannelClosed): void {
    if (reason.kind === 'broken') {
      this.kill(reason.message);
      return;
    }
    const timer = setTimeout(() => this.kill('it closed its channel and went on'), DYING_MS);
    void this.#child.exited.then(() => clearTimeout(timer));
  }

  async #awaitHello(): Promise<Hello> {
    const { name, helloTimeoutMs } = this.#options;
    const { channel } = this.#child;
    let timer: NodeJS.Timeout | undefined;
    const said = new Promise<Hello>((resolve, reject) => {
      channel.on('hello', resolve);
      channel.on('refused', (body) => reject(WarmlaneError.fromBody(body)));
      timer = setTimeout(() => this.kill(`no hello within ${helloTimeoutMs} ms`), helloTimeoutMs);
    });
    const died = this.#deathOrLost().then((death): never => {
      throw new RuntimeDied(name, death);
    });
    try {
      return await Promise.race([said, died]);
    } finally {
      clearTimeout(timer);
    }
  }

  #deathOrLost(): Promise<Death> {
    const lost = this.lost.then(
      (): Death => ({
        signal: null,
        code: null,
        external: false,
        planned: false,
        serving: this.#servingAtDeath,
        reason: `still there ${this.#options.killTimeoutMs} ms after SIGKILL: the device is lost`,
        uptimeMs: performance.now() - this.#begunMs,
      }),
    );
    return Promise.race([this.death, lost]);
  }

  #died({ code, signal }: ChildExit): Death {
    const uptimeMs = performance.now() - this.#begunMs;
    const ours = signal === 'SIGKILL' ? this.#killReason : null;
    const external = ours === null && (signal === 'SIGKILL' || signal === 'SIGTERM');
    const itself = signal === null ? exitReason(code) : external ? `killed from outside (${signal})` : signal;
    const serving = this.#servingAtDeath;
    return { signal, code, external, planned: this.#closing, serving, reason: ours ?? itself, uptimeMs };
  }

  get #servingAtDeath(): boolean {
    return this.#hungServing ?? this.#serving > 0;
  }
}

function exitReason(code: number | null): string {
  return code === RUNTIME_EXIT.poisoned ? `its CUDA context was lost (exit code ${code})` : `exit code ${code}`;
}
