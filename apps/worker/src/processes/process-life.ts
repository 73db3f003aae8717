import { type ErrorBody, WarmlaneError } from '@warmlane/contracts';
import { CallTimeout, ChannelClosed, type Child, type ChildExit, type MethodTable } from '@warmlane/ipc';
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
}

export interface ProcessCallOptions {
  /** The watchdog: a call past this costs the process its life. */
  timeoutMs: number;
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
  #killReason: string | null = null;
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
    try {
      return await this.#child.channel.call(method, params, options);
    } catch (error) {
      if (error instanceof CallTimeout) this.kill(error.message);
      else if (!(error instanceof ChannelClosed)) throw error;
      throw new RuntimeDied(this.#options.name, await this.#deathOrLost());
    }
  }

  /** SIGKILL, for a reason of this worker's. */
  kill(reason: string): void {
    if (this.#killReason !== null) return;
    this.#killReason = reason;
    this.#child.kill('SIGKILL');
    const timer = setTimeout(() => this.#reportLost(), this.#options.killTimeoutMs);
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
    const itself = signal === null ? `exit code ${code}` : external ? `killed from outside (${signal})` : signal;
    return { signal, code, external, planned: this.#closing, reason: ours ?? itself, uptimeMs };
  }
}
