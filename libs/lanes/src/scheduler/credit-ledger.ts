import { type Appetite, BACKLOG_WAIT_MS } from './pace.js';

/**
 * Credit of one device: four of the largest batch (one runs, one is ahead of its turn, one gathers, and one is answered and
 * not yet settled in its queue) and 8 more.
 */
export function deviceCredit(largestBatch: number): number {
  return 4 * largestBatch + 8;
}

interface Account {
  /** What the class's queue Worker is allowed: 1 and what is granted. */
  concurrency: number;
  /** Jobs fetched and not yet settled. */
  active: number;
  /** The most active jobs since the last rebalance. */
  peak: number;
  fallback: boolean;
  /** Whether a job that was fetched since the last rebalance had waited for long enough to prove a backlog; null: none was. */
  proven: boolean | null;
  /** Saturated with a backlog while no credit was left. */
  hungry: boolean;
}

/** A class takes what credit there is. */
const UNBOUNDED: Appetite = { jobs: Number.POSITIVE_INFINITY, batch: 1, backlogMs: BACKLOG_WAIT_MS };

/**
 * Who may fetch how many jobs for one device. Each class may always hold one job; more only by credit, so that at no time
 * more than the credit and one per class are active here, however many classes there are.
 *
 * The bound is exact for a BullMQ Worker, which starts a fetch only while it holds less than its concurrency and has at
 * most one fetch of its own under way: concurrency is lowered below what is active only for a class that holds all it
 * may, and else not below what is active and one. For the same reason {@link rebalance} must be called at a macrotask
 * boundary: between a job's end and the start of the one that came with the reply lie microtasks.
 */
export class CreditLedger {
  private readonly accounts = new Map<string, Account>();
  private most = 0;

  /**
   * @param credit beyond the one job per class; see {@link deviceCredit}
   * @param appetite what of its queue a class can make use of, asked whenever it matters
   */
  constructor(
    private credit: number,
    private readonly appetite: (name: string) => Appetite = () => UNBOUNDED,
  ) {}

  /**
   * Credit beyond the one job per class: what was given, but no more than the classes with jobs can make use of. That is a
   * batch of each for its next turn; and what runs, and is on its way, once for all of them, for one runs at a time.
   */
  get total(): number {
    let batches = 0;
    let ahead = 0;
    for (const [name, account] of this.accounts) {
      if (account.active === 0) continue;
      const { jobs, batch } = this.appetite(name);
      batches += batch - 1;
      ahead = Math.max(ahead, jobs - batch);
    }
    return Math.min(this.credit, batches + ahead);
  }

  /** The largest batch changed. Where less is left than is granted, {@link rebalance} takes it back step by step. */
  setTotal(credit: number): void {
    this.credit = credit;
  }

  /** The most jobs that were active at one time. */
  get maxActive(): number {
    return this.most;
  }

  get active(): number {
    let sum = 0;
    for (const account of this.accounts.values()) sum += account.active;
    return sum;
  }

  /** Credit that is granted, or still held by jobs of a class that was lowered. */
  get used(): number {
    let sum = 0;
    for (const account of this.accounts.values()) sum += charge(account);
    return sum;
  }

  /** What may be active at most: the credit and one per class. */
  get limit(): number {
    return this.credit + this.accounts.size;
  }

  /** True while a class is raised or wants to be: the caller keeps calling {@link rebalance}. */
  get unsettled(): boolean {
    for (const account of this.accounts.values()) if (account.concurrency > 1 || account.hungry) return true;
    return false;
  }

  open(name: string, fallback: boolean): void {
    if (this.accounts.has(name)) throw new Error(`class ${name} is open already`);
    this.accounts.set(name, { concurrency: 1, active: 0, peak: 0, fallback, proven: null, hungry: false });
  }

  /** Call when the class's Worker is closed. */
  close(name: string): void {
    this.accounts.delete(name);
  }

  concurrency(name: string): number {
    return this.account(name).concurrency;
  }

  /** In fallback mode a class is never raised, and loses what it had at the next {@link rebalance}. */
  setFallback(name: string, fallback: boolean): void {
    const account = this.account(name);
    account.fallback = fallback;
    if (fallback) account.hungry = false;
  }

  /** A job was fetched that had lain in its queue for `waitedMs`. Returns the class's concurrency, raised if it may be. */
  started(name: string, waitedMs: number): number {
    const account = this.account(name);
    account.active += 1;
    account.peak = Math.max(account.peak, account.active);
    this.most = Math.max(this.most, this.active);
    const { jobs, backlogMs } = this.appetite(name);
    account.proven = account.proven === true || waitedMs >= backlogMs;
    if (account.fallback || account.active < account.concurrency) return account.concurrency;
    if (waitedMs < backlogMs || account.concurrency >= jobs) return account.concurrency;
    const total = this.total;
    const free = total - this.used;
    const others = this.hungryCount(account);
    const cap = Math.min(others === 0 ? total : this.share(total), jobs - 1);
    const step = Math.min(account.concurrency, free, cap - (account.concurrency - 1));
    if (step > 0) {
      account.concurrency += step;
      account.hungry = false;
    } else if (free <= 0 && waitedMs >= BACKLOG_WAIT_MS) account.hungry = true;
    return account.concurrency;
  }

  /** A job was settled in its queue, and its place is free. */
  settled(name: string): void {
    const account = this.accounts.get(name);
    if (account === undefined) return;
    account.active = Math.max(0, account.active - 1);
  }

  /**
   * Takes back what classes did not use since the last call, or can no longer make use of, and gives it to those that wanted
   * more; where nothing is left, classes above their equal share give one back. Returns the classes whose concurrency changed.
   */
  rebalance(): Map<string, number> {
    const changed = new Map<string, number>();
    const set = (name: string, account: Account, concurrency: number) => {
      if (account.concurrency === concurrency) return;
      account.concurrency = concurrency;
      changed.set(name, concurrency);
    };
    for (const [name, account] of this.accounts) {
      const { jobs, batch, backlogMs } = this.appetite(name);
      if (account.active < account.concurrency || account.concurrency >= jobs) account.hungry = false;
      // Long runs, each of one job, held without a backlog: what comes would find other workers as well.
      const idle = account.proven === false && batch === 1 && backlogMs > BACKLOG_WAIT_MS;
      const used = account.fallback || idle ? 1 : Math.max(1, Math.min(account.peak, jobs));
      account.proven = null;
      const saturated = account.active >= account.concurrency;
      const floor = saturated ? 1 : account.active + 1;
      set(name, account, Math.min(account.concurrency, Math.max(used, floor)));
      account.peak = account.active;
    }
    const total = this.total;
    for (const [name, account] of this.accounts) {
      if (this.granted <= total) break;
      if (account.concurrency > 1 && account.active >= account.concurrency) set(name, account, account.concurrency - 1);
    }
    const hungry = [...this.accounts].filter(([, account]) => account.hungry);
    if (hungry.length === 0) return changed;
    const share = this.share(total);
    for (const [name, account] of hungry) {
      if (this.used >= total) break;
      set(name, account, account.concurrency + 1);
      account.hungry = false;
    }
    const poor = hungry.filter(([, account]) => account.hungry && account.concurrency - 1 < share).length;
    let wanted = poor;
    for (const [name, account] of this.accounts) {
      if (wanted <= 0) break;
      if (account.concurrency - 1 > share && account.active >= account.concurrency) {
        set(name, account, account.concurrency - 1);
        wanted -= 1;
      }
    }
    return changed;
  }

  private account(name: string): Account {
    const account = this.accounts.get(name);
    if (account === undefined) throw new Error(`class ${name} is not open`);
    return account;
  }

  /** Credit that is granted; what is only still held comes back by itself. */
  private get granted(): number {
    let sum = 0;
    for (const account of this.accounts.values()) sum += account.concurrency - 1;
    return sum;
  }

  private hungryCount(except: Account): number {
    let count = 0;
    for (const account of this.accounts.values()) if (account !== except && account.hungry) count += 1;
    return count;
  }

  /** Equal share of the credit among the classes that hold all they may. */
  private share(total: number): number {
    let full = 0;
    for (const account of this.accounts.values()) if (account.active >= account.concurrency) full += 1;
    return Math.floor(total / Math.max(1, full));
  }
}

function charge(account: Account): number {
  return Math.max(account.concurrency, account.active) - 1;
}
