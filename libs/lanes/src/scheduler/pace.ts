/** What of a class's queue a worker can make use of. */
export interface Appetite {
  /** Jobs that it may hold at a time, at least 2: fetched and not yet settled. */
  jobs: number;
  /** Of them a full batch. */
  batch: number;
  /**
   * A job that lay in its queue for as long is taken as proof that more wait there than are taken out, ms. 0: no proof is
   * asked for.
   */
  backlogMs: number;
}

/**
 * From the end of a run to the next job of its class, by way of Redis, with room for a busy machine: what is to be there
 * beyond the batch that runs and the one that is next.
 */
export const TURNAROUND_MS = 50;

/**
 * A job that lay in its queue for less is no proof of a backlog. Raising a class without proof costs an empty fetch for every
 * single request.
 */
export const BACKLOG_WAIT_MS = 2;

/**
 * A batch that runs for less is over before it is worth an empty fetch for every request that comes: with runs of 6 ms, at 3,300
 * requests per second, p99 was three to six times p50 with those fetches, and 1.7 times without.
 */
export const LONG_BATCH_MS = 12;

/** Time on the device that is remembered, whatever ran in it: some periods of one that is throttled. */
const REMEMBERED_MS = 300;

/** Two runs may end in one turn of the event loop. */
const LEAST_MS = 0.001;

/** One run of a class. Times in ms of one clock. */
export interface RunOfClass {
  sentAt: number;
  endedAt: number;
  /** Of requests that were cut, the parts that ran. */
  jobs: number;
  items: number;
}

/** Eight that came out as a little more are not nine. */
const ROUNDING = 1e-6;

/** The largest lane of a class. */
export interface LargestLane {
  /** Items that it takes. */
  size: number;
  /** Of one run, by its record. */
  p50Ms: number;
}

/** What a device was like lately. */
interface Seen {
  jobsPerMs: number;
  itemsPerMs: number;
  /** How long the run takes that is under way at any moment, ms: on a device that stands still now and then that is its pause. */
  runMs: number;
}

interface ClassPace {
  largest: LargestLane;
  /** null: it has not run yet. */
  seen: Seen | null;
}

/**
 * How fast this worker is at each class, and so how many of its jobs it may hold. What one worker holds no other can take:
 * a slow one that holds as many as a fast one keeps the last of a burst waiting while the others are idle. A run costs what
 * the device was at it, however its lane was measured: it may have become slow since, or be stopped now and then.
 */
export class Pace {
  readonly #classes = new Map<string, ClassPace>();
  #lastEndedAt = Number.NEGATIVE_INFINITY;

  /** Until it has run, a class runs as its largest lane was measured. null: none is left. */
  setLargest(name: string, largest: LargestLane | null): void {
    if (largest === null) this.#classes.delete(name);
    else this.#classes.set(name, { largest, seen: this.#classes.get(name)?.seen ?? null });
  }

  /** In the order in which the runs end; the device takes one at a time. */
  ran(name: string, { sentAt, endedAt, jobs, items }: RunOfClass): void {
    const ms = Math.max(LEAST_MS, endedAt - Math.max(sentAt, this.#lastEndedAt));
    this.#lastEndedAt = endedAt;
    const of = this.#classes.get(name);
    if (of === undefined) return;
    const before = of.seen ?? asMeasured(of.largest);
    const weight = 1 - Math.exp(-ms / REMEMBERED_MS);
    of.seen = {
      jobsPerMs: before.jobsPerMs + weight * (jobs / ms - before.jobsPerMs),
      itemsPerMs: before.itemsPerMs + weight * (items / ms - before.itemsPerMs),
      runMs: before.runMs + weight * (ms - before.runMs),
    };
  }

  /** Of a class without a lane as of one that is slow. */
  appetite(name: string): Appetite {
    const of = this.#classes.get(name);
    if (of === undefined) return { jobs: 2, batch: 1, backlogMs: BACKLOG_WAIT_MS };
    const { jobsPerMs, itemsPerMs, runMs } = of.seen ?? asMeasured(of.largest);
    const batch = Math.max(1, Math.ceil((of.largest.size * jobsPerMs) / itemsPerMs - ROUNDING));
    return {
      jobs: 2 * batch + Math.floor(TURNAROUND_MS * jobsPerMs),
      batch,
      backlogMs: backlogOf(batch, jobsPerMs, runMs),
    };
  }
}

/** What comes while a long batch runs is the next one: it has to be here by then, so the queue is listened to from the start. */
function backlogOf(batch: number, jobsPerMs: number, runMs: number): number {
  if (batch > 1 && runMs >= LONG_BATCH_MS) return 0;
  return Math.max(BACKLOG_WAIT_MS, batch > 1 ? 0.5 / jobsPerMs : runMs / 2);
}

/** Requests of one item each, in full runs. */
function asMeasured({ size, p50Ms }: LargestLane): Seen {
  const perMs = size / Math.max(LEAST_MS, p50Ms);
  return { jobsPerMs: perMs, itemsPerMs: perMs, runMs: p50Ms };
}
