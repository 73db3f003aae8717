import type { Death } from './process-errors.js';

export interface DeathLedgerOptions {
  /** Deaths within the window that make the device unhealthy. Default 5. */
  deaths?: number;
  /** Default 60,000. */
  windowMs?: number;
}

/**
 * Counts the deaths of a runtime that were neither planned nor signals from outside: so many in so short a time mean that the device,
 * its driver or its libraries are broken, and starting again does not help. Pure: times are passed in.
 */
export class DeathLedger {
  readonly #limit: number;
  readonly #windowMs: number;
  #times: number[] = [];
  #unhealthySinceMs: number | null = null;

  constructor({ deaths = 5, windowMs = 60_000 }: DeathLedgerOptions = {}) {
    this.#limit = deaths;
    this.#windowMs = windowMs;
  }

  /** Takes a death down; true where the device is unhealthy with it. */
  record(death: Pick<Death, 'external' | 'planned'>, nowMs: number): boolean {
    if (!death.external && !death.planned) {
      this.#times = [...this.#times.filter((time) => time > nowMs - this.#windowMs), nowMs];
      if (this.#times.length >= this.#limit) this.#unhealthySinceMs ??= nowMs;
    }
    return this.#unhealthySinceMs !== null;
  }

  /** Since when the device counts as unhealthy; null while it does not. It stays so until {@link recover}. */
  get unhealthySinceMs(): number | null {
    return this.#unhealthySinceMs;
  }

  /** A runtime has proven itself again. */
  recover(): void {
    this.#times = [];
    this.#unhealthySinceMs = null;
  }
}
