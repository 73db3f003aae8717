import { describe, expect, it } from 'vitest';
import { CreditLedger, deviceCredit } from './credit-ledger.js';
import { Pace } from './pace.js';

const FAST_MS = 20;
const SLOW_MS = 100;
const CLASSES = Array.from({ length: 10 }, (_, n) => `class-${n}`);

interface Job {
  name: string;
  enqueuedAt: number;
}

/** A worker whose device takes so long for each job, and that fetches as its ledger allows. */
class Device {
  readonly pace = new Pace();
  readonly ledger: CreditLedger;
  readonly waiting: Job[] = [];
  readonly done: number[] = [];
  /** When it last took a job: who has waited longest is woken first. */
  servedAt = 0;
  private running: { job: Job; sentAt: number } | null = null;

  constructor(
    private readonly costMs: number,
    classes: readonly string[],
    bounded: boolean,
  ) {
    const appetite = bounded ? (name: string) => this.pace.appetite(name) : undefined;
    this.ledger = new CreditLedger(deviceCredit(1), appetite);
    for (const name of classes) {
      // Measured before it became slow.
      this.pace.setLargest(name, { size: 1, p50Ms: FAST_MS });
      this.ledger.open(name, false);
    }
  }

  held(name: string): number {
    const running = this.running?.job.name === name ? 1 : 0;
    return running + this.waiting.filter((job) => job.name === name).length;
  }

  take(job: Job, now: number): void {
    this.servedAt = now;
    this.waiting.push(job);
    this.ledger.started(job.name, now - job.enqueuedAt);
  }

  step(now: number): void {
    if (this.running !== null && this.running.sentAt + this.costMs <= now) {
      const { job, sentAt } = this.running;
      this.running = null;
      this.pace.ran(job.name, { sentAt, endedAt: now, jobs: 1, items: 1 });
      this.ledger.settled(job.name);
      this.done.push(now);
    }
    if (now % 50 === 0) this.ledger.rebalance();
    const next = this.running === null ? this.waiting.shift() : undefined;
    if (next !== undefined) this.running = { job: next, sentAt: now };
  }
}

interface Scenario {
  classes?: number;
  bounded?: boolean;
  /** Requests at the start, each in the next class. */
  burst: number;
  /** So many are under way until so late after it: for each that is answered another one is sent. */
  after?: { underWay: number; untilMs: number };
}

function simulate({ classes = 1, bounded = true, burst, after = { underWay: 0, untilMs: 0 } }: Scenario) {
  const names = CLASSES.slice(0, classes);
  const queues = new Map<string, Job[]>(names.map((name) => [name, []]));
  const devices = [FAST_MS, SLOW_MS].map((costMs) => new Device(costMs, names, bounded)) as [Device, Device];
  const answered = () => devices[0].done.length + devices[1].done.length;
  let sent = 0;
  let now = 0;
  const send = () => {
    const name = names[sent % names.length] ?? '';
    queues.get(name)?.push({ name, enqueuedAt: now });
    sent += 1;
  };
  while (sent < burst) send();
  for (; answered() < sent; now += 1) {
    while (now < after.untilMs && sent - answered() < after.underWay) send();
    for (const device of devices) device.step(now);
    // Each worker gets one job of a queue in a round trip, in turn.
    for (const [name, queue] of queues) {
      const able = devices.filter((device) => device.held(name) < device.ledger.concurrency(name));
      for (const device of able.sort((a, b) => a.servedAt - b.servedAt)) {
        const job = queue.shift();
        if (job !== undefined) device.take(job, now);
      }
    }
  }
  const [fast, slow] = devices.map(({ done }) => done) as [number[], number[]];
  return { fast, slow, perSecond: (answered() * 1_000) / now, tailMs: (slow.at(-1) ?? 0) - (fast.at(-1) ?? 0) };
}

const POSSIBLE_PER_SECOND = 1_000 / FAST_MS + 1_000 / SLOW_MS;

describe('two workers at one queue, one of them five times slower', () => {
  it('shares by speed while there is enough for both', () => {
    const { fast, slow, perSecond } = simulate({ burst: 64, after: { underWay: 64, untilMs: 20_000 } });
    expect(perSecond).toBeGreaterThan(0.95 * POSSIBLE_PER_SECOND);
    expect(fast.length / slow.length).toBeCloseTo(SLOW_MS / FAST_MS, 0);
  });

  it('keeps both busy with the few requests that are left of many: the slow one leaves them to the other', () => {
    const few: Scenario = { burst: 64, after: { underWay: 4, untilMs: 20_000 } };
    const { fast, slow, perSecond } = simulate(few);
    expect(perSecond).toBeGreaterThan(0.9 * POSSIBLE_PER_SECOND);
    expect(slow.length).toBeLessThan(fast.length / 3);
    expect(simulate({ ...few, bounded: false }).perSecond).toBeLessThan(0.5 * POSSIBLE_PER_SECOND);
  });

  it('keeps the last of a burst waiting no longer than two runs behind the slow one', () => {
    const burst = 100;
    const { tailMs, perSecond } = simulate({ burst });
    expect(tailMs).toBeLessThanOrEqual(2 * SLOW_MS);
    expect(perSecond).toBeGreaterThan(0.85 * POSSIBLE_PER_SECOND);
    expect(simulate({ burst, bounded: false }).tailMs).toBeGreaterThan(5 * SLOW_MS);
  });

  it('holds one job of each class and one more, of a burst over ten classes', () => {
    const burst = 200;
    // A queue's Worker always may hold one.
    expect(simulate({ burst, classes: 10 }).tailMs).toBeLessThanOrEqual(11 * SLOW_MS);
    expect(simulate({ burst, classes: 10, bounded: false }).tailMs).toBeGreaterThan(15 * SLOW_MS);
  });
});
