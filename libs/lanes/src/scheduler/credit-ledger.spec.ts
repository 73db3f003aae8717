import { describe, expect, it } from 'vitest';
import { CreditLedger, deviceCredit } from './credit-ledger.js';

const BACKLOG = 50;

function opened(total: number, ...names: string[]): CreditLedger {
  const ledger = new CreditLedger(total);
  for (const name of names) ledger.open(name, false);
  return ledger;
}

describe('deviceCredit', () => {
  it('is four of the largest batch and 8', () => {
    expect(deviceCredit(1)).toBe(12);
    expect(deviceCredit(8)).toBe(40);
  });
});

describe('CreditLedger', () => {
  it('follows the largest batch: more at once, less as jobs end', () => {
    const ledger = new CreditLedger(2);
    ledger.open('a', false);
    const fetch = () => ledger.started('a', 10);
    for (let at = 0; at < 3; at += 1) fetch();
    expect(ledger.concurrency('a')).toBe(3);
    ledger.setTotal(10);
    fetch();
    for (let at = 4; at < 11; at += 1) fetch();
    expect(ledger.concurrency('a')).toBe(11);
    ledger.setTotal(4);
    for (let at = 0; at < 20; at += 1) {
      ledger.settled('a');
      if (ledger.active < ledger.concurrency('a')) fetch();
      ledger.rebalance();
    }
    expect(ledger.concurrency('a')).toBeLessThanOrEqual(5);
  });

  it('leaves a class at one job while nothing waits', () => {
    const ledger = opened(10, 'a');
    expect(ledger.started('a', 0.5)).toBe(1);
    expect(ledger.used).toBe(0);
  });

  it('doubles a class with a backlog up to the credit, and takes back what it no longer uses', () => {
    const ledger = opened(10, 'a');
    const raised = Array.from({ length: 11 }, () => ledger.started('a', BACKLOG));
    expect(raised).toEqual([2, 4, 4, 8, 8, 8, 8, 11, 11, 11, 11]);
    expect(ledger.used).toBe(10);
    for (let n = 0; n < 9; n += 1) ledger.settled('a');
    ledger.rebalance();
    expect(ledger.rebalance()).toEqual(new Map([['a', 3]]));
    ledger.settled('a');
    ledger.settled('a');
    ledger.rebalance();
    ledger.rebalance();
    expect(ledger.concurrency('a')).toBe(1);
    expect(ledger.unsettled).toBe(false);
  });

  it('never raises a class in fallback mode, and lowers one that enters it', () => {
    const ledger = opened(10, 'a');
    ledger.started('a', BACKLOG);
    ledger.started('a', BACKLOG);
    expect(ledger.concurrency('a')).toBe(4);
    ledger.setFallback('a', true);
    ledger.settled('a');
    ledger.settled('a');
    ledger.rebalance();
    expect(ledger.concurrency('a')).toBe(1);
    for (let n = 0; n < 3; n += 1) expect(ledger.started('a', BACKLOG)).toBe(1);
    expect(ledger.maxActive).toBe(3);
  });

  it('keeps the credit of a lowered class charged until its jobs are settled', () => {
    const ledger = opened(4, 'a', 'b');
    for (let n = 0; n < 5; n += 1) ledger.started('a', BACKLOG);
    ledger.setFallback('a', true);
    ledger.rebalance();
    expect(ledger.concurrency('a')).toBe(1);
    expect(ledger.used).toBe(4);
    expect(ledger.started('b', BACKLOG)).toBe(1);
    ledger.settled('a');
    ledger.rebalance();
    expect(ledger.concurrency('b')).toBe(2);
  });

  it('shares the credit between two classes with a backlog', () => {
    const ledger = opened(10, 'a', 'b');
    const worker = simulate(ledger);
    worker.run(['a'], 50);
    expect(ledger.concurrency('a')).toBe(11);
    worker.run(['a', 'b'], 200);
    expect(Math.abs(ledger.concurrency('a') - ledger.concurrency('b'))).toBeLessThanOrEqual(1);
  });

  it('takes a wait for proof of a backlog only where the class says so', () => {
    const ledger = new CreditLedger(10, () => ({ jobs: 10, batch: 1, backlogMs: 40 }));
    ledger.open('a', false);
    expect(ledger.started('a', 39)).toBe(1);
    expect(ledger.started('a', 40)).toBe(2);
  });

  it('raises a class that runs in batches from its first job on, and takes from no other for it without proof', () => {
    const ledger = new CreditLedger(3, () => ({ jobs: 16, batch: 8, backlogMs: 0 }));
    ledger.open('a', false);
    ledger.open('b', false);
    expect(ledger.started('a', 0)).toBe(2);
    expect(ledger.started('a', 0)).toBe(4);
    expect(ledger.started('b', 0)).toBe(1);
    expect(ledger.rebalance()).toEqual(new Map([['a', 3]]));
    for (let n = 0; n < 2; n += 1) ledger.started('a', 0);
    expect(ledger.concurrency('b')).toBe(1);
  });

  it('takes back what was fetched without a backlog, and nothing for the time in which none was fetched', () => {
    const ledger = new CreditLedger(10, () => ({ jobs: 10, batch: 1, backlogMs: 5 }));
    ledger.open('a', false);
    for (let n = 0; n < 4; n += 1) ledger.started('a', 5);
    expect(ledger.concurrency('a')).toBe(8);
    ledger.rebalance();
    expect(ledger.concurrency('a')).toBe(5);
    for (let n = 0; n < 4; n += 1) ledger.settled('a');
    for (let n = 0; n < 4; n += 1) ledger.started('a', 5);
    ledger.rebalance();
    ledger.rebalance();
    expect(ledger.concurrency('a')).toBe(5);
    for (let n = 0; n < 4; n += 1) ledger.settled('a');
    for (let n = 0; n < 4; n += 1) ledger.started('a', 4.9);
    ledger.rebalance();
    expect(ledger.concurrency('a')).toBe(5);
    ledger.started('a', 4.9);
    ledger.rebalance();
    expect(ledger.concurrency('a')).toBe(1);
  });

  it('raises no class above what it can make use of, and takes back what it no longer can', () => {
    let jobs = 6;
    const ledger = new CreditLedger(10, () => ({ jobs, batch: 1, backlogMs: 2 }));
    ledger.open('a', false);
    for (let n = 0; n < 6; n += 1) ledger.started('a', BACKLOG);
    expect(ledger.concurrency('a')).toBe(6);
    ledger.rebalance();
    expect(ledger.concurrency('a')).toBe(6);
    jobs = 2;
    expect(ledger.rebalance()).toEqual(new Map([['a', 2]]));
    // What it holds is charged until it is settled.
    expect(ledger.used).toBe(5);
    for (let n = 0; n < 5; n += 1) ledger.settled('a');
    expect(ledger.started('a', BACKLOG)).toBe(2);
    jobs = 6;
    expect(ledger.started('a', BACKLOG)).toBe(4);
  });

  it('gives the classes of a slow device one job each and one more in all, and those that run in batches a batch each', () => {
    const names = Array.from({ length: 10 }, (_, n) => `c${n}`);
    const held = (batch: number) => {
      const ledger = new CreditLedger(deviceCredit(batch), () => ({ jobs: 2 * batch, batch, backlogMs: 2 }));
      for (const name of names) ledger.open(name, false);
      const worker = simulate(ledger);
      worker.run(names, 400);
      return worker.most;
    };
    expect(held(1)).toBe(11);
    expect(held(8)).toBe(deviceCredit(8) + 10);
  });

  it('keeps its bound while what the classes can make use of changes all the time', () => {
    const names = Array.from({ length: 20 }, (_, n) => `c${n}`);
    const random = lcg(11);
    const ledger = new CreditLedger(deviceCredit(4), () => ({
      jobs: 2 + Math.floor(random() * 20),
      batch: 1 + Math.floor(random() * 4),
      backlogMs: 2,
    }));
    for (const name of names) ledger.open(name, false);
    const worker = simulate(ledger);
    for (let round = 0; round < 200; round += 1) {
      worker.run(
        names.filter(() => random() < 0.4),
        20,
      );
      expect(worker.most).toBeLessThanOrEqual(ledger.limit);
    }
    worker.run([], 200);
    expect(ledger.used).toBe(0);
  });

  it('holds at most the credit and one job per class, over 100 classes with backlogs that come and go', () => {
    const names = Array.from({ length: 100 }, (_, n) => `c${n}`);
    const ledger = opened(deviceCredit(1), ...names);
    const worker = simulate(ledger);
    const random = lcg(7);
    for (let round = 0; round < 200; round += 1) {
      worker.run(
        names.filter(() => random() < 0.4),
        20,
      );
      expect(worker.most).toBeLessThanOrEqual(ledger.limit);
    }
    expect(ledger.limit).toBe(112);
    expect(worker.most).toBeGreaterThan(50);
    worker.run([], 200);
    expect(ledger.used).toBe(0);
  });
});

/**
 * The queue Workers as BullMQ runs them: a fetch of its own only below the concurrency, one at a time, each fetch and
 * each settling some steps under way; a settled job brings the next one along unless more is held than allowed.
 */
function simulate(ledger: CreditLedger) {
  const random = lcg(42);
  const state = new Map<string, { held: number; running: number; fetching: boolean }>();
  const worker = {
    most: 0,
    run(backlogged: readonly string[], steps: number) {
      const waiting = new Set(backlogged);
      for (let step = 0; step < steps; step += 1) {
        for (const name of waiting) if (!state.has(name)) state.set(name, { held: 0, running: 0, fetching: false });
        for (const [name, line] of state) {
          if (line.fetching && random() < 0.5) {
            line.fetching = false;
            if (waiting.has(name)) {
              line.held += 1;
              line.running += 1;
              ledger.started(name, BACKLOG);
            }
          }
          if (line.running > 0 && random() < 0.6) {
            const total = line.held + (line.fetching ? 1 : 0);
            const next = total <= ledger.concurrency(name) && waiting.has(name);
            ledger.settled(name);
            if (next) ledger.started(name, BACKLOG);
            else {
              line.held -= 1;
              line.running -= 1;
            }
          }
          if (!line.fetching && line.held < ledger.concurrency(name)) line.fetching = true;
        }
        if (step % 5 === 0) ledger.rebalance();
        let held = 0;
        for (const line of state.values()) held += line.held + (line.fetching ? 1 : 0);
        worker.most = Math.max(worker.most, held);
      }
    },
  };
  return worker;
}

/** Deterministic numbers in [0, 1). */
function lcg(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}
