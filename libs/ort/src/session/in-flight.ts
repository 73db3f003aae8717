import { OrtError } from '../native/ort-error.js';

/** Guards something native that pool threads use: one call at a time, and its release waits for the last one. */
export class InFlight {
  readonly #what: string;
  readonly #exclusive: boolean;
  #running = 0;
  #release: (() => void) | null = null;
  #closed = false;

  /** `exclusive`: one call at a time. */
  constructor(what: string, exclusive: boolean) {
    this.#what = what;
    this.#exclusive = exclusive;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Throws `closed` or `busy`; else call `leave` once. */
  enter(): void {
    if (this.#closed) throw new OrtError('closed', `this ${this.#what} is closed`, 'Create a new one.');
    if (this.#exclusive && this.#running > 0) {
      throw new OrtError('busy', `this ${this.#what} is running already`, 'Await the call before the next one.');
    }
    this.#running += 1;
  }

  leave(): void {
    this.#running -= 1;
    if (this.#running > 0 || this.#release === null) return;
    const release = this.#release;
    this.#release = null;
    release();
  }

  /** Refuses later calls; releases now, or when the running ones are done. Safe to repeat. */
  close(release: () => void): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#running === 0) release();
    else this.#release = release;
  }
}
