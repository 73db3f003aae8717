import { EventEmitter } from 'node:events';
import { WarmlaneError } from '@warmlane/contracts';
import type { Child, MethodTable } from '@warmlane/ipc';
import { type Death, RuntimeDied } from './process-errors.js';
import { type ChildEvents, type LifeOptions, type ProcessCallOptions, ProcessLife } from './process-life.js';

export interface RestartOptions {
  /** First wait before a dead process is started again; doubles with each death. */
  firstMs: number;
  maxMs: number;
  /** A life so long starts the waits anew. */
  resetAfterMs: number;
}

const DEFAULT_RESTART: RestartOptions = { firstMs: 200, maxMs: 5000, resetAfterMs: 10_000 };

export interface SupervisionOptions extends Partial<Omit<LifeOptions, 'name' | 'blocks'>> {
  restart?: Partial<RestartOptions>;
  /** How long `close` waits for an orderly end before SIGKILL. Default 10,000. */
  closeLimitMs?: number;
}

export interface SupervisedEvents<Hello> {
  /** Each time the process is up. */
  up: [hello: Hello];
  /** Each time it died, except by `close`. It is started again after a wait. */
  down: [death: Death];
  /** It is not gone after SIGKILL: the device is lost, nothing is started again. */
  lost: [];
  /** A start after the first one was refused (for instance the device is held); it is tried again. */
  refused: [error: WarmlaneError];
}

/**
 * A child process that is started again when it dies. `call` works while it is up. Calls in flight at a death reject
 * with {@link RuntimeDied}, before `down` is emitted or after, but always with the same {@link Death}.
 */
export class SupervisedProcess<Methods extends MethodTable<Methods>, Hello> {
  readonly events = new EventEmitter<SupervisedEvents<Hello>>();
  readonly #spawn: () => Child<Methods, ChildEvents<Hello>>;
  readonly #life: LifeOptions;
  readonly #restart: RestartOptions;
  readonly #closeLimitMs: number;
  #current: ProcessLife<Methods, Hello> | null = null;
  #hello: Hello | null = null;
  #state: 'new' | 'running' | 'closed' | 'lost' = 'new';
  #waitMs: number;
  #wasUp = false;
  #awaiting: { resolve: (hello: Hello) => void; reject: (error: Error) => void }[] = [];
  #timer: NodeJS.Timeout | null = null;

  constructor(
    { name, blocks }: Pick<LifeOptions, 'name' | 'blocks'>,
    spawn: () => Child<Methods, ChildEvents<Hello>>,
    options: SupervisionOptions = {},
  ) {
    this.#spawn = spawn;
    this.#life = {
      name,
      blocks,
      helloTimeoutMs: options.helloTimeoutMs ?? 60_000,
      killTimeoutMs: options.killTimeoutMs ?? 10_000,
    };
    this.#restart = { ...DEFAULT_RESTART, ...options.restart };
    this.#closeLimitMs = options.closeLimitMs ?? 10_000;
    this.#waitMs = this.#restart.firstMs;
  }

  /** What the process said when it came up; null while it is down. */
  get hello(): Hello | null {
    return this.#hello;
  }

  /** Of the current life, also before its hello; null between lives. */
  get pid(): number | null {
    return this.#current?.pid ?? null;
  }

  get inFlight(): number {
    return this.#current?.inFlight ?? 0;
  }

  /**
   * Starts it. Resolves with the first hello; rejects with the child's refusal (device held, library missing) and then
   * starts nothing again. A death before the first hello is a `down` like any other, and it is started again; `close`
   * makes this reject.
   */
  start(): Promise<Hello> {
    if (this.#state !== 'new') throw new WarmlaneError('internal', `the ${this.#life.name} process was started before`);
    this.#state = 'running';
    return new Promise<Hello>((resolve, reject) => {
      this.#awaiting.push({ resolve, reject });
      this.#live();
    });
  }

  /** Rejects with the child's error, {@link RuntimeDied}, `canceled`, or `not-ready` while the process is down. */
  async call<K extends keyof Methods & string>(
    method: K,
    params: Methods[K]['params'],
    options: ProcessCallOptions,
  ): Promise<Methods[K]['result']> {
    if (this.#current === null || this.#hello === null) {
      throw new WarmlaneError(
        this.#state === 'lost' ? 'device-unhealthy' : 'not-ready',
        `the ${this.#life.name} process is not up (${this.#state})`,
        this.#state === 'running' ? 'It is being started: retry.' : '',
      );
    }
    return this.#current.call(method, params, options);
  }

  /** Kills the current life (SIGKILL); it counts as a death that was not from outside. */
  kill(reason: string): void {
    this.#current?.kill(reason);
  }

  /**
   * A planned new life: ends this one in order and starts the next at once. `down` says so (`planned`). Resolves with the
   * next hello; rejects where this is closed or lost before it comes.
   */
  async renew(closeMethod: keyof Methods & string, params: Methods[typeof closeMethod]['params']): Promise<Hello> {
    if (this.#state !== 'running') throw new WarmlaneError('not-ready', `the ${this.#life.name} process is closed`);
    const next = new Promise<Hello>((resolve, reject) => this.#awaiting.push({ resolve, reject }));
    const life = this.#current;
    if (life !== null) await life.close(closeMethod, params, this.#closeLimitMs);
    return next;
  }

  /** Orderly: asks it to close, kills it past the limit. Nothing is started afterwards. Safe to repeat. */
  async close(closeMethod: keyof Methods & string, params: Methods[typeof closeMethod]['params']): Promise<void> {
    if (this.#state !== 'lost') this.#state = 'closed';
    if (this.#timer !== null) clearTimeout(this.#timer);
    const life = this.#current;
    this.#abandon(new WarmlaneError('not-ready', `the ${this.#life.name} process is closed`));
    if (life === null) return;
    if (this.#hello === null) life.kill('closed before it was up');
    await life.close(closeMethod, params, this.#closeLimitMs);
  }

  #live(): void {
    this.#timer = null;
    let life: ProcessLife<Methods, Hello>;
    try {
      life = new ProcessLife(this.#spawn(), this.#life);
    } catch (error) {
      this.#refuse(WarmlaneError.from(error));
      return;
    }
    this.#current = life;
    let refusal: WarmlaneError | null = null;
    life.hello.then(
      (hello) => {
        if (this.#state !== 'running') return;
        this.#hello = hello;
        this.#wasUp = true;
        for (const { resolve } of this.#awaiting.splice(0)) resolve(hello);
        this.events.emit('up', hello);
      },
      (error: unknown) => {
        if (error instanceof RuntimeDied) return;
        refusal = WarmlaneError.from(error);
        life.kill('it refused to start');
      },
    );
    void life.lost.then(() => this.#lose());
    void life.death.then((death) => {
      this.#current = null;
      this.#hello = null;
      if (death.planned) this.#waitMs = 0;
      else if (death.uptimeMs >= this.#restart.resetAfterMs) this.#waitMs = this.#restart.firstMs;
      if (this.#state !== 'running') this.#abandon(new RuntimeDied(this.#life.name, death));
      else if (refusal !== null) this.#refuse(refusal);
      else {
        this.events.emit('down', death);
        this.#startLater();
      }
    });
  }

  /** Nobody held the device at the first start, so a later refusal is passing: the life before may not be gone yet. */
  #refuse(error: WarmlaneError): void {
    if (!this.#wasUp) {
      this.#state = 'closed';
      this.#abandon(error);
      return;
    }
    this.events.emit('refused', error);
    this.#startLater();
  }

  #startLater(): void {
    // A listener of the event before may have closed this.
    if (this.#state !== 'running') return;
    this.#timer = setTimeout(() => this.#live(), this.#waitMs);
    this.#waitMs = Math.min(Math.max(this.#waitMs * 2, this.#restart.firstMs), this.#restart.maxMs);
  }

  #lose(): void {
    if (this.#state === 'lost') return;
    this.#state = 'lost';
    this.#hello = null;
    const { name, killTimeoutMs } = this.#life;
    this.#abandon(
      new WarmlaneError(
        'device-unhealthy',
        `the ${name} process is still there ${killTimeoutMs} ms after SIGKILL`,
        'It sits in the driver: the device needs a reset or the machine a restart.',
      ),
    );
    this.events.emit('lost');
  }

  #abandon(error: Error): void {
    for (const { reject } of this.#awaiting.splice(0)) reject(error);
  }
}
