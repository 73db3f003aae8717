import { WarmlaneError } from '@warmlane/contracts';

/** What was seen longer ago says nothing about now, nor a pace from before such a pause; of long deadlines a quarter of them. */
const KEPT_MS = 1_000;
/**
 * Nobody is refused before others of the line took this share of its time: a burst is not yet an overload. Until then k times of
 * what is possible let in a line of (k - 1) x 0.25 of the deadline: up to four times, all of it can be answered ...
 */
const SEEN_SHARE = 0.25;
/** ... nor one whose own answer is expected with some of its time to spare. */
const EXPECTED_SHARE = 0.85;
/** Fewer than these in line are no overload: what they wait for is something else, such as a worker that died. */
const LEAST_OPEN = 8;
/**
 * A line's pace is that of so many answers at least (of 8, up to 1 % of what comes in waves that could be answered was refused),
 * and past so many the older half is forgotten.
 */
const LEAST_TURNS = 16;
const MOST_TURNS = 64;
/** Two leave for one that comes. */
const TIDIED_AT_ONCE = 2;

/** Requests that wait for each other: of one queue, priority and about one deadline. */
interface Line {
  /** See {@link KEPT_MS}. */
  readonly keptMs: number;
  open: number;
  /** Answers since `from`, a time from which on the line was never short; the last one at `turnedAt`. */
  turns: number;
  from: number;
  turnedAt: number;
  /** How long the last one took that was answered or late, and when that was. */
  tookMs: number;
  seenAt: number;
}

/** A request that was let in. Call one of both, once. */
export interface Ticket {
  answered(): void;
  /** It ended otherwise. `late`: at its deadline. */
  ended(late: boolean): void;
}

/**
 * Whether a request would be answered before its deadline. Without this more load than a device can take answers nobody:
 * each request waits in line until its deadline, is run at the last moment, and its answer comes too late (measured over HTTP:
 * 157 answers per second where 1,067 were possible).
 *
 * Of a line that is served in order a producer knows enough: while it is long, its own requests are answered at some pace,
 * and the next one comes after all of them, whatever others send and however many workers there are. The pace is known long
 * before the first wait is over: judged by waits, four times of what is possible left 75 % of it in time over HTTP (28 ms lanes,
 * deadlines of 2 s, one and three API processes), judged by the pace all of it.
 */
export class WaitForecast {
  readonly #lines = new Map<string, Line>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  /**
   * Throws `overloaded` for one that would only wait for its deadline, `leftMs` from now. One that finds few others is let in
   * whatever was seen.
   */
  admit(queue: string, priority: number, leftMs: number): Ticket {
    const line = this.#of(`${queue} ${priority} ${Math.round(Math.log2(leftMs))}`, leftMs);
    const expectedMs = this.#expectedMs(line);
    if (line.tookMs >= SEEN_SHARE * leftMs && expectedMs > EXPECTED_SHARE * leftMs) {
      throw new WarmlaneError(
        'overloaded',
        `a request for this shape takes about ${Math.round(expectedMs)} ms now, which is too long for its deadline of ${Math.round(leftMs)} ms`,
        'Send it again in a second, or with a longer deadline; replicas of the lane or more workers answer more of them.',
      );
    }
    line.open += 1;
    const admittedAt = this.now();
    return {
      answered: () => {
        this.#turn(line);
        this.#see(line, this.now() - admittedAt);
        line.open -= 1;
      },
      ended: (late) => {
        if (late) this.#see(line, leftMs);
        line.open -= 1;
      },
    };
  }

  #expectedMs(line: Line): number {
    if (line.open < LEAST_OPEN || this.now() - line.seenAt >= line.keptMs) return 0;
    if (line.turns < LEAST_TURNS) return 0;
    return ((line.open + 1) * (line.turnedAt - line.from)) / line.turns;
  }

  #turn(line: Line): void {
    const now = this.now();
    if (line.open < LEAST_OPEN || now - line.turnedAt >= line.keptMs) {
      line.turns = 0;
      line.from = now;
    } else {
      line.turns += 1;
      if (line.turns >= MOST_TURNS && now - line.from >= KEPT_MS) {
        line.turns /= 2;
        line.from = (line.from + now) / 2;
      }
    }
    line.turnedAt = now;
  }

  #see(line: Line, tookMs: number): void {
    line.tookMs = tookMs;
    line.seenAt = this.now();
  }

  /** Lines that are kept in mind. */
  get size(): number {
    return this.#lines.size;
  }

  #of(name: string, leftMs: number): Line {
    const known = this.#lines.get(name);
    if (known !== undefined) return known;
    this.#tidy();
    const never = Number.NEGATIVE_INFINITY;
    const keptMs = Math.max(KEPT_MS, SEEN_SHARE * leftMs);
    const fresh = { keptMs, open: 0, turns: 0, from: never, turnedAt: never, tookMs: 0, seenAt: never };
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
      if (line.open > 0 || this.now() - line.seenAt < line.keptMs) this.#lines.set(name, line);
    }
  }
}
