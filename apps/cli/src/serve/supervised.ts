import { EXIT_CONFIG, type ProcessEnd } from '@warmlane/process';
import type { RunningProcess } from './app-process.js';
import { restartDelayMs, STEADY_AFTER_MS } from './restart-delay.js';

/** A process is gone at once after SIGKILL, unless a call into the kernel does not return. */
const AFTER_KILL_MS = 2_000;

export interface SupervisedOptions {
  /** For the log: `api`, `worker 0`, `redis`. */
  name: string;
  start: () => RunningProcess | Promise<RunningProcess>;
  log: (text: string) => void;
  /** Called once when starting again is of no use: it ended with EXIT_CONFIG and never lived long. */
  onHopeless: (reason: string) => void;
}

/** Keeps one process running: started again with growing pauses until `stop`. */
export class Supervised {
  #running: RunningProcess | null = null;
  #stopping = false;
  #killed = false;
  #wasSteady = false;
  #cycle: Promise<void> | null = null;
  #wakeUp: () => void = () => undefined;

  constructor(private readonly options: SupervisedOptions) {}

  get isRunning(): boolean {
    return this.#running !== null;
  }

  /** Starts the process and, from now on, starts it again when it ends. Returns at once. */
  start(): void {
    this.#cycle ??= this.#keepRunning();
  }

  /** SIGCONT: a process that somebody stopped goes on. */
  resume(): void {
    this.#running?.signal('SIGCONT');
  }

  /**
   * SIGTERM, and SIGKILL after `graceMs`. Resolves when the process is gone and will not return; one that the kernel does
   * not let go of (a driver that hangs) is left behind 2 s after SIGKILL.
   */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#wakeUp();
    this.#running?.signal('SIGTERM');
    if (await this.#endsWithin(graceMs)) return;
    this.options.log(`${this.options.name} did not end within ${Math.round(graceMs / 100) / 10} s: killed`);
    this.kill();
    if (await this.#endsWithin(AFTER_KILL_MS)) return;
    this.options.log(`${this.options.name} is still there after SIGKILL: left behind, end it by hand`);
  }

  async #endsWithin(limitMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, limitMs, false);
    });
    const ended = (this.#cycle ?? Promise.resolve()).then(() => true);
    return await Promise.race([ended, late]).finally(() => clearTimeout(timer));
  }

  /** SIGKILL now, and no new start. */
  kill(): void {
    this.#stopping = true;
    this.#killed = true;
    this.#wakeUp();
    this.#running?.signal('SIGKILL');
  }

  async #keepRunning(): Promise<void> {
    let delayMs: number | null = null;
    while (!this.#stopping) {
      const startedAt = performance.now();
      const end = await this.#oneLife();
      if (this.#stopping) {
        return;
      }
      const livedMs = performance.now() - startedAt;
      this.#wasSteady ||= livedMs >= STEADY_AFTER_MS;
      if (typeof end !== 'string' && end.code === EXIT_CONFIG && !this.#wasSteady) {
        this.options.onHopeless(`${this.options.name} cannot run with these settings (its reason is in the log above)`);
        return;
      }
      delayMs = restartDelayMs(delayMs, livedMs);
      const reason = typeof end === 'string' ? end : `ended (${end.signal ?? `code ${end.code ?? 'unknown'}`})`;
      this.options.log(`${this.options.name} ${reason}, starts again in ${delayMs / 1_000} s`);
      await this.#pause(delayMs);
    }
  }

  /** How it ended, or why it could not be started. */
  async #oneLife(): Promise<ProcessEnd | string> {
    try {
      this.#running = await this.options.start();
    } catch (error) {
      return `did not start: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (this.#stopping) {
      // Asked to stop while it was being started.
      this.#running.signal(this.#killed ? 'SIGKILL' : 'SIGTERM');
    }
    const end = await this.#running.ended;
    this.#running = null;
    return end;
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
