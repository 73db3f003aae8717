/** What the order of work depends on. All times in ms of one clock. */
export interface Scheduled {
  /** Shape class or cold queue: fairness is between classes. */
  readonly class: string;
  /** When it was asked for: within a class it is due counted from then, however long it lay in its queue. */
  readonly enqueuedAt: number;
  /** When the job became active here. */
  readonly arrivedAt: number;
  readonly deadlineAt: number;
  /** 0 to 9, 0 first. */
  readonly priority: number;
}

/**
 * How long a job of priority p is meant to wait for its turn: p times this, from its arrival or from the last turn of its
 * class; beside others of its class, from when it was asked for. It is due then or at its deadline, whichever is earlier: with deadlines alone, thirty seconds each, fresh work
 * would wait behind a whole backlog of another class.
 */
export const PRIORITY_STEP_MS = 400;

/**
 * What a class gains in ms for each ms since it was last served. With 4, a class of priority 9 waits at most
 * 9 x 400 / (1 + 4) = 720 ms (and the run in progress) for its turn, whatever more urgent classes do.
 */
export const AGING = 4;

interface Entry<T> {
  readonly dueAt: number;
  readonly item: T;
}

/** A class with work; one without is forgotten, for there are as many classes as shapes. */
interface ClassLine<T> {
  /** Sorted by dueAt, first come first within a tie. */
  readonly entries: Entry<T>[];
  /** When the last turn of the class ended, or when it got work if that is later. */
  waitingSince: number;
}

/** When an item is due that waits for its turn since `since`: see {@link PRIORITY_STEP_MS}. */
export function dueAt(item: Scheduled, since: number): number {
  return Math.min(item.deadlineAt, since + item.priority * PRIORITY_STEP_MS);
}

/**
 * Earliest deadline first, with aging across classes. Pure: the caller brings the clock. Adding costs a binary search in
 * the class, taking a look at each class that has work; both are bounded by the credit (some hundred items at most).
 */
export class DeadlineQueue<T extends Scheduled> {
  private readonly lines = new Map<string, ClassLine<T>>();
  private count = 0;

  get size(): number {
    return this.count;
  }

  add(item: T, now: number): void {
    let line = this.lines.get(item.class);
    if (line === undefined) {
      line = { entries: [], waitingSince: now };
      this.lines.set(item.class, line);
    }
    const entry = { dueAt: dueAt(item, item.enqueuedAt), item };
    line.entries.splice(firstAfter(line.entries, entry.dueAt), 0, entry);
    this.count += 1;
  }

  /** The next item to run, or null. An item past its deadline comes out like any other: the caller looks. */
  take(now: number): T | null {
    let taken: T | null = null;
    this.takeFrom(now, ([head]) => {
      taken = head ?? null;
      return head === undefined ? [] : [head];
    });
    return taken;
  }

  /**
   * The turn of a class: `choose` is given its items, most urgent first, and names those that are taken out; what it
   * leaves keeps its place. Where it answers null the turn is not taken, and all is as before.
   *
   * @returns the class, or null where nothing waits or the turn was not taken
   */
  takeFrom(now: number, choose: (items: readonly T[]) => readonly T[] | null): string | null {
    let best: string | null = null;
    let bestScore = Number.POSITIVE_INFINITY;
    for (const [name, line] of this.lines) {
      const head = line.entries[0];
      if (head === undefined) continue;
      // What is overdue is due now, however long ago: between overdue classes only their waiting counts.
      const due = dueAt(head.item, Math.max(head.item.arrivedAt, line.waitingSince));
      const score = Math.max(due, now) - AGING * (now - line.waitingSince);
      if (score < bestScore) {
        best = name;
        bestScore = score;
      }
    }
    const line = best === null ? undefined : this.lines.get(best);
    if (best === null || line === undefined) return null;
    const chosen = choose(line.entries.map(({ item }) => item));
    if (chosen === null) return null;
    const taken = new Set(chosen);
    const before = line.entries.length;
    for (let at = before - 1; at >= 0; at -= 1) {
      const item = line.entries[at]?.item;
      if (item !== undefined && taken.has(item)) line.entries.splice(at, 1);
    }
    this.count -= before - line.entries.length;
    if (line.entries.length === 0) this.lines.delete(best);
    line.waitingSince = now;
    return best;
  }

  /** What was taken of a class has run: its next turn is counted from now. */
  ended(name: string, now: number): void {
    const line = this.lines.get(name);
    if (line !== undefined) line.waitingSince = now;
  }

  /** Takes out everything whose deadline has passed. */
  takeExpired(now: number): T[] {
    return this.takeWhere((item) => item.deadlineAt <= now);
  }

  /** Takes out every item that matches, in order of their classes. */
  takeWhere(matches: (item: T) => boolean): T[] {
    const out: T[] = [];
    for (const [name, line] of this.lines) {
      for (let at = 0; at < line.entries.length; ) {
        const item = line.entries[at]?.item;
        if (item !== undefined && matches(item)) {
          line.entries.splice(at, 1);
          out.push(item);
        } else at += 1;
      }
      if (line.entries.length === 0) this.lines.delete(name);
    }
    this.count -= out.length;
    return out;
  }
}

function firstAfter<T>(entries: readonly Entry<T>[], due: number): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const entry = entries[middle];
    if (entry !== undefined && entry.dueAt <= due) low = middle + 1;
    else high = middle;
  }
  return low;
}
