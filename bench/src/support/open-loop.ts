import { percentile, type Row, round } from './result.js';

/** How one request ended. */
export interface Outcome {
  ms: number;
  /** `ready`, `padded`, `cold`; or `shed` where it was refused or its deadline passed. */
  served: string;
  /** Bytes of both ways. */
  bytes: number;
}

export interface OpenRun<T extends Outcome = Outcome> {
  offeredPerSecond: number;
  seconds: number;
  outcomes: T[];
}

/**
 * Requests come by the clock, in random gaps around the rate, whether the last one is answered or not. Only those sent in
 * the last `measureMs` count. A signal ends it earlier.
 */
export async function openLoop<T extends Outcome>(
  perSecond: number,
  { warmMs, measureMs, seed, signal }: { warmMs: number; measureMs: number; seed: number; signal?: AbortSignal },
  send: (n: number) => Promise<T>,
): Promise<OpenRun<T>> {
  let state = seed;
  const gapMs = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (-Math.log(1 - state / 2 ** 32) * 1_000) / perSecond;
  };
  const from = performance.now() + warmMs;
  const until = from + measureMs;
  const open: Promise<T>[] = [];
  const before: Promise<T>[] = [];
  let n = 0;
  for (let due = performance.now(); due < until && signal?.aborted !== true; due += gapMs()) {
    for (let left = due - performance.now(); left > 0; left = due - performance.now()) {
      await new Promise<void>((resolve) => {
        if (left > 2) setTimeout(resolve, left - 1);
        else setImmediate(resolve);
      });
    }
    (due >= from ? open : before).push(send(n));
    n += 1;
  }
  await Promise.all(before);
  const seconds = (Math.min(performance.now(), until) - from) / 1_000;
  return { offeredPerSecond: perSecond, seconds, outcomes: await Promise.all(open) };
}

/** Several runs of one rate at once, as one. */
export function together(runs: readonly OpenRun[]): OpenRun {
  return {
    offeredPerSecond: runs.reduce((sum, run) => sum + run.offeredPerSecond, 0),
    seconds: runs[0]?.seconds ?? 0,
    outcomes: runs.flatMap((run) => run.outcomes),
  };
}

export function openRow(what: string, lanes: string, run: OpenRun): Row {
  const answered = run.outcomes.filter(({ served }) => served !== 'shed');
  const ms = answered.map((outcome) => outcome.ms);
  const share = (served: string) => run.outcomes.filter((one) => one.served === served).length / run.outcomes.length;
  return {
    what,
    lanes,
    offeredPerSecond: round(run.offeredPerSecond, 1),
    perSecond: round(answered.length / run.seconds, 1),
    p50Ms: round(percentile(ms, 50)),
    p99Ms: round(percentile(ms, 99)),
    shedShare: round(share('shed'), 4),
    coldShare: round(share('cold'), 4),
    gbPerSecond: round(answered.reduce((sum, { bytes }) => sum + bytes, 0) / run.seconds / 1e9, 4),
  };
}
