import { WarmlaneError } from '@warmlane/contracts';

/** What was seen longer ago says nothing about now. */
const KEPT_MS = 1_000;
/** Weight of the newest wait. */
const NEWEST = 0.1;
/** Nobody is refused before waits take this share of a request's time: a burst is not yet an overload ... */
const SEEN_SHARE = 0.5;
/** ... nor one whose own wait is expected to leave time for its run and its answer. */
const EXPECTED_SHARE = 0.85;
/** Fewer than these in line are no overload: what they wait for is something else, such as a worker that died. */
const LEAST_OPEN = 8;
/** Two leave for one that comes. */
const TIDIED_AT_ONCE = 2;

/** Requests of one queue and priority. */
interface Line {
  open: number;
  /** Mean wait for a turn, and how many were open when those that waited came, itself included. */
  waitMs: number;
  among: number;
  seenAt: number;
}

/** A request that was let in. Call one of both, once. */
export interface Ticket {
  /** It was answered, and waited so long for its turn. */
  answered(waitMs: number): void;
  /** It ended otherwise. `late`: at its deadline. */
  ended(late: boolean): void;
}

/**
 * Whether a request would have its turn before its deadline. Without this more load than a device can take answers nobody:
 * each request waits in line until its deadline, is run at the last moment, and its answer comes too late (measured over HTTP:
 * 157 answers per second where 1,067 were possible).
 *
 * Of a queue that is served in order a producer knows enough: a request that found so many of its own open waited so long,
 * so one that finds twice as many waits twice as long, whatever others send and however many workers there are.
 */
export class WaitForecast {
  readonly #lines = new Map<string, Line>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  /**
   * Throws `overloaded` for one that would only wait for its deadline, `leftMs` from now. One that finds few others is let in
   * whatever was seen.
   */
  admit(queue: string, priority: number, leftMs: number): Ticket {
    const line = this.#of(`${queue} ${priority}`);
    const expectedMs = line.among === 0 ? 0 : (line.waitMs * (line.open + 1)) / line.among;
    const seen = line.open >= LEAST_OPEN && this.now() - line.seenAt < KEPT_MS;
    if (seen && line.waitMs >= SEEN_SHARE * leftMs && expectedMs > EXPECTED_SHARE * leftMs) {
      throw new WarmlaneError(
        'overloaded',
        `a request for this shape waits about ${Math.round(expectedMs)} ms now, which is too long for its deadline of ${Math.round(leftMs)} ms`,
        'Send it again in a second, or with a longer deadline; replicas of the lane or more workers answer more of them.',
      );
    }
    line.open += 1;
    const among = line.open;
    return {
      answered: (waitMs) => {
        line.open -= 1;
        this.#see(line, waitMs, among);
      },
      ended: (late) => {
        line.open -= 1;
        if (late) this.#see(line, leftMs, among);
      },
    };
  }

  /** Queues and priorities that are kept in mind. */
  get size(): number {
    return this.#lines.size;
  }

  #see(line: Line, waitMs: number, among: number): void {
    const weight = this.now() - line.seenAt < KEPT_MS ? NEWEST : 1;
    line.waitMs += weight * (waitMs - line.waitMs);
    line.among += weight * (among - line.among);
    line.seenAt = this.now();
  }

  #of(name: string): Line {
    const known = this.#lines.get(name);
    if (known !== undefined) return known;
    this.#tidy();
    const fresh = { open: 0, waitMs: 0, among: 0, seenAt: Number.NEGATIVE_INFINITY };
    this.#lines.set(name, fresh);
    return fresh;
  }

  /** There are as many queues as shapes: for each that comes the oldest are looked at, and those in use go to the end. */
  #tidy(): void {
    let left = TIDIED_AT_ONCE;
    for (const [name, line] of this.#lines) {
      if (left === 0) return;
      left -= 1;
      this.#lines.delete(name);
      if (line.open > 0 || this.now() - line.seenAt < KEPT_MS) this.#lines.set(name, line);
    }
  }
}
