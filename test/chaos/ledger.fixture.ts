import { isErrorCode } from '@warmlane/contracts';

/** How a request may have come in. */
export type Way = 'http' | 'json' | 'idempotent' | 'hasty' | 'leaving' | 'async' | 'queue';

/**
 * `right`, `wrong`; `error`: a typed error; `broken`: the connection ended, so nobody knows whether it was accepted;
 * `refused`: nobody listened; `expired`: a short deadline passed, and it said so; `left`: the client did not wait; `lost`:
 * accepted, and neither answered nor failed by its deadline.
 */
export type Outcome = 'right' | 'wrong' | 'error' | 'broken' | 'refused' | 'expired' | 'left' | 'lost';

export interface Entry {
  way: Way;
  model: string;
  outcome: Outcome;
  /** Error code, or what is wrong. */
  detail: string;
  /** `ready` or `cold` of an answer. */
  lane: string;
  startedAt: number;
  tookMs: number;
}

const FINE: ReadonlySet<Outcome> = new Set<Outcome>(['right', 'refused', 'expired', 'left']);

/** What became of each request. */
export class Ledger {
  readonly entries: Entry[] = [];

  add(entry: Entry): void {
    this.entries.push(entry);
  }

  count(outcome: Outcome, way?: Way): number {
    return this.entries.filter((entry) => entry.outcome === outcome && (way === undefined || entry.way === way)).length;
  }

  /** Entries that no fault excuses, one line each: wrong and lost ones, untyped errors, and codes that are not allowed. */
  offences(allowed: ReadonlySet<string>): string[] {
    return this.entries
      .filter(({ outcome, detail }) => {
        if (FINE.has(outcome)) return false;
        if (outcome === 'broken') return !allowed.has('broken');
        if (outcome === 'error') return !isErrorCode(detail) || !allowed.has(detail);
        return true;
      })
      .map(
        ({ way, model, outcome, detail, tookMs }) => `${way} ${model} ${outcome} ${detail} ${Math.round(tookMs)} ms`,
      );
  }

  /** One line for the log: counts by way and outcome, and the slowest right answer. */
  summary(): string {
    const counts = new Map<string, number>();
    for (const { way, outcome, detail, lane } of this.entries) {
      const what = outcome === 'right' ? lane : outcome === 'error' ? detail : outcome;
      const name = `${way}:${what}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    const right = this.entries.filter((entry) => entry.outcome === 'right').map((entry) => entry.tookMs);
    const listed = [...counts].sort().map(([name, count]) => `${name} ${count}`);
    return `${listed.join(', ')}; slowest ${Math.round(Math.max(0, ...right))} ms`;
  }
}
