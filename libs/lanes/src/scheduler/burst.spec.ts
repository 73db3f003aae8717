import { describe, expect, it } from 'vitest';
import { CreditLedger, deviceCredit } from './credit-ledger.js';
import { DeadlineQueue, type Scheduled } from './deadline-queue.js';

const STEP_MS = 1;
const LANE_MS = 5;
const FALLBACK_MS = 150;
const LOAD = 0.7;
const BURST_AT_MS = 10_000;
const BURST_MS = 3_000;
const CLASSES = Array.from({ length: 10 }, (_, n) => `class-${n}`);

interface Job extends Scheduled {
  enqueuedAt: number;
  burst: boolean;
}

interface Done {
  job: Job;
  at: number;
  by: 'lane' | 'fallback' | 'expired';
}

/** One device: class queues, credit, the order of work, a lane at 5 ms and a fallback at 150 ms. */
class Device {
  readonly queues = new Map<string, Job[]>(CLASSES.map((name) => [name, []]));
  readonly ledger = new CreditLedger(deviceCredit(1));
  readonly done: Done[] = [];
  private readonly lanes = new DeadlineQueue<Job>();
  private readonly fallback = new DeadlineQueue<Job>();
  private running: { job: Job; until: number; by: 'lane' | 'fallback' }[] = [];
  private down = false;

  constructor() {
    for (const name of CLASSES) this.ledger.open(name, false);
  }

  setDown(down: boolean, now: number): void {
    this.down = down;
    for (const name of CLASSES) this.ledger.setFallback(name, down);
    if (!down) return;
    const interrupted = this.running.filter((run) => run.by === 'lane').map((run) => run.job);
    this.running = this.running.filter((run) => run.by !== 'lane');
    for (const job of [...interrupted, ...this.lanes.takeWhere(() => true)]) this.fallback.add(job, now);
  }

  step(now: number): void {
    for (const run of this.running.filter((one) => one.until <= now)) {
      this.finish(run.job, now, run.by);
      (run.by === 'lane' ? this.lanes : this.fallback).ended(run.job.class, now);
    }
    this.running = this.running.filter((run) => run.until > now);
    for (const [name, queue] of this.queues) this.fetch(name, queue, now);
    if (now % 50 === 0) this.ledger.rebalance();
    this.start(this.lanes, 'lane', LANE_MS, now);
    this.start(this.fallback, 'fallback', FALLBACK_MS, now);
  }

  private fetch(name: string, queue: Job[], now: number): void {
    for (let held = this.held(name); held < this.ledger.concurrency(name); held += 1) {
      const job = queue.shift();
      if (job === undefined) return;
      this.ledger.started(name, now - job.enqueuedAt);
      (this.down ? this.fallback : this.lanes).add({ ...job, arrivedAt: now }, now);
      this.jobs.set(name, this.held(name) + 1);
    }
  }

  private readonly jobs = new Map<string, number>();

  private held(name: string): number {
    return this.jobs.get(name) ?? 0;
  }

  private start(line: DeadlineQueue<Job>, by: 'lane' | 'fallback', costMs: number, now: number): void {
    while (!this.running.some((run) => run.by === by)) {
      const job = line.take(now);
      if (job === null) return;
      if (job.deadlineAt <= now) this.finish(job, now, 'expired');
      else this.running.push({ job, until: now + costMs, by });
    }
  }

  private finish(job: Job, now: number, by: Done['by']): void {
    this.done.push({ job, at: now, by });
    this.jobs.set(job.class, this.held(job.class) - 1);
    this.ledger.settled(job.class);
  }
}

interface Scenario {
  burstClasses: readonly string[];
  downFrom?: number;
  downTo?: number;
  endMs: number;
}

function simulate(scenario: Scenario) {
  const device = new Device();
  let sent = 0;
  let due = 0;
  const enqueue = (name: string, now: number, burst: boolean) => {
    const job = { class: name, arrivedAt: now, enqueuedAt: now, deadlineAt: now + 30_000, priority: 5, burst };
    device.queues.get(name)?.push(job);
    sent += 1;
  };
  for (let now = 0; now < scenario.endMs; now += STEP_MS) {
    for (; due <= now; due += LANE_MS / LOAD) enqueue(CLASSES[sent % CLASSES.length] ?? '', now, false);
    if (now === BURST_AT_MS) {
      for (let n = 0; n < BURST_MS / LANE_MS; n += 1) {
        enqueue(scenario.burstClasses[n % scenario.burstClasses.length] ?? '', now, true);
      }
    }
    if (now === scenario.downFrom) device.setDown(true, now);
    if (now === scenario.downTo) device.setDown(false, now);
    device.step(now);
  }
  let waiting = 0;
  for (const queue of device.queues.values()) waiting += queue.length;
  return { device, sent, waiting, done: device.done };
}

function p95(done: readonly Done[], from: number, to: number): number {
  const waits = done
    .filter(({ job }) => !job.burst && job.enqueuedAt >= from && job.enqueuedAt < to)
    .map(({ job, at }) => at - job.enqueuedAt)
    .sort((a, b) => a - b);
  return waits[Math.floor(waits.length * 0.95)] ?? Number.POSITIVE_INFINITY;
}

describe('70 % load, one burst of 3 s of work, lane to fallback cost 1:30', () => {
  it('keeps the other classes fast while a burst in one class drains at the spare capacity', () => {
    const { device, done, sent, waiting } = simulate({ burstClasses: ['class-3'], endMs: 25_000 });
    const others = done.filter(({ job }) => job.class !== 'class-3');
    const before = p95(others, 0, BURST_AT_MS);
    for (let from = BURST_AT_MS; from < 20_000; from += 500) {
      // Ahead of a request are the run in progress, one turn of the burst and one of another class: no more of 600.
      expect(p95(others, from, from + 500)).toBeLessThanOrEqual(before + 3 * LANE_MS);
    }
    const lastOfBurst = Math.max(...done.filter(({ job }) => job.burst).map(({ at }) => at));
    expect(lastOfBurst - BURST_AT_MS).toBeLessThanOrEqual((BURST_MS / (1 - LOAD)) * 1.05);
    expect(done.every(({ by }) => by === 'lane')).toBe(true);
    expect(sent - done.length).toBeLessThanOrEqual(waiting + device.ledger.active);
    expect(device.ledger.maxActive).toBeLessThanOrEqual(device.ledger.limit);
  });

  it('comes back after a burst over all classes as soon as arithmetic allows', () => {
    const { device, done } = simulate({ burstClasses: CLASSES, endMs: 25_000 });
    const before = p95(done, 0, BURST_AT_MS);
    const floorMs = BURST_MS / (1 - LOAD);
    expect(p95(done, BURST_AT_MS + floorMs * 1.05, 25_000)).toBeLessThanOrEqual(2 * before);
    expect(done.every(({ by }) => by === 'lane')).toBe(true);
    expect(device.ledger.maxActive).toBeLessThanOrEqual(device.ledger.limit);
  });

  it('recovers when the runtime is away for two seconds of the burst and the fallback serves at a thirtieth', () => {
    const { device, done, waiting, sent } = simulate({
      burstClasses: CLASSES,
      downFrom: BURST_AT_MS + 500,
      downTo: BURST_AT_MS + 2_500,
      endMs: 35_000,
    });
    const before = p95(done, 0, BURST_AT_MS);
    const served = done.filter(({ by }) => by === 'fallback').length;
    expect(served).toBeGreaterThan(0);
    // Nothing more was fetched for the fallback than one job per class, so little of it is left when lanes are back.
    expect(served).toBeLessThan(60);
    const floorMs = (BURST_MS + 2_000 * LOAD + 500) / (1 - LOAD);
    expect(p95(done, BURST_AT_MS + floorMs * 1.1, 35_000)).toBeLessThanOrEqual(3 * before);
    expect(done.some(({ by }) => by === 'expired')).toBe(false);
    expect(sent - done.length).toBeLessThanOrEqual(waiting + device.ledger.active);
    expect(device.ledger.maxActive).toBeLessThanOrEqual(device.ledger.limit);
  });
});
