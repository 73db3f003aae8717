import { median, percentile, type Row, round } from './result.js';

export interface LoadRun {
  inFlight: number;
  /** ms of each request that ended in the measured time. */
  latencies: number[];
  perSecond: number;
}

/**
 * Keeps `inFlight` requests under way for `warmMs` and then for `measureMs`: what ends in that time counts, whenever it was
 * begun. Rejects with the first failure: a bench with failed requests says nothing.
 */
export async function closedLoop(
  inFlight: number,
  warmMs: number,
  measureMs: number,
  send: () => Promise<void>,
): Promise<LoadRun> {
  const from = performance.now() + warmMs;
  const until = from + measureMs;
  const latencies: number[] = [];
  const client = async (): Promise<void> => {
    for (;;) {
      const begun = performance.now();
      if (begun >= until) return;
      await send();
      const ended = performance.now();
      if (ended >= from && ended <= until) latencies.push(ended - begun);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, client));
  return { inFlight, latencies, perSecond: (latencies.length * 1_000) / measureMs };
}

/** One row over several runs: medians of their percentiles and rates. */
export function summarize(what: string, runs: readonly LoadRun[]): Row {
  const over = (value: (run: LoadRun) => number) => median(runs.map(value));
  return {
    what,
    inFlight: runs[0]?.inFlight ?? 0,
    runs: runs.length,
    p50Ms: round(
      over((run) => percentile(run.latencies, 50)),
      3,
    ),
    p99Ms: round(
      over((run) => percentile(run.latencies, 99)),
      3,
    ),
    perSecond: round(
      over((run) => run.perSecond),
      0,
    ),
  };
}
