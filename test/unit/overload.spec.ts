import { LikelyTime } from '@warmlane/lanes';
import { describe, expect, it } from 'vitest';
import { Progress } from '../../apps/worker/src/serving/progress.js';
import { type Work, waitedInVain } from '../../apps/worker/src/serving/work.js';
import { type Ticket, WaitForecast } from '../../libs/queues/src/producer/wait-forecast.js';

/** On the way to the queue, and from the device back to the producer. */
const WAY_MS = 3;
/** From the end of a job to the next that is fetched in its place. */
const SETTLED_MS = 2;

interface Lane {
  /** Of a run of so many items. */
  runMs: (items: number) => number;
  batch: number;
  /** Jobs that the worker holds at once. */
  credit: number;
}

const LANES: Record<string, Lane> = {
  'batch 1, 5 ms': { runMs: () => 5, batch: 1, credit: 13 },
  'batch 1, 28 ms': { runMs: () => 28, batch: 1, credit: 13 },
  'batches up to 8, 32 ms': { runMs: (items) => 16 + 2 * items, batch: 8, credit: 41 },
};

interface Load {
  lane: Lane;
  /** Requests per second at a time in ms. */
  offered: (now: number) => number;
  /** Requests that come at 1 s, all at once. */
  burst?: number;
  deadlineMs: number;
  producers: number;
  seconds: number;
  /** The worker fetches and runs nothing. */
  away?: (now: number) => boolean;
}

interface Request {
  sentAt: number;
  deadlineAt: number;
  ticket: Ticket;
  over: boolean;
}

function perSecond({ batch, runMs }: Lane): number {
  return (1_000 * batch) / runMs(batch);
}

/** What `waitedInVain` looks at. */
function inVain({ sentAt, deadlineAt }: Request, now: number, answerMs: number): boolean {
  const work: Pick<Work, 'enqueuedAt' | 'deadlineAt' | 'progress' | 'items'> = {
    enqueuedAt: sentAt,
    deadlineAt,
    progress: new Progress(1),
    items: 1,
  };
  return waitedInVain(work, now, answerMs);
}

/** Producers, one queue and one worker, step by step of one ms: what both sides decide is theirs, the rest is modelled. */
class Simulation {
  readonly counts = { sent: 0, answered: 0, refused: 0, late: 0 };
  now = 0;
  #sent = 0;
  readonly #forecasts: WaitForecast[];
  readonly #open = new Set<Request>();
  #queue: Request[] = [];
  #held: Request[] = [];
  #active = 0;
  #running: Request[] | null = null;
  readonly #took: LikelyTime;
  #due: { at: number; run: () => void }[] = [];

  constructor(private readonly load: Load) {
    this.#forecasts = Array.from({ length: load.producers }, () => new WaitForecast(() => this.now));
    this.#took = new LikelyTime(load.lane.runMs(1));
  }

  run(): this {
    const { seconds, offered, burst = 0, away } = this.load;
    for (let due = 0; this.now < seconds * 1_000; this.now += 1) {
      const ripe = this.#due.filter(({ at }) => at <= this.now);
      this.#due = this.#due.filter(({ at }) => at > this.now);
      for (const { run } of ripe) run();
      this.#expire();
      for (due += offered(this.now) / 1_000; this.#sent < due; this.#sent += 1) this.#send();
      if (this.now === 1_000) for (let n = 0; n < burst; n += 1) this.#send();
      if (away?.(this.now) === true) continue;
      this.#fetch();
      this.#start();
    }
    return this;
  }

  #after(ms: number, run: () => void): void {
    this.#due.push({ at: this.now + ms, run });
  }

  #send(): void {
    const { deadlineMs } = this.load;
    this.counts.sent += 1;
    try {
      const forecast = this.#forecasts[this.counts.sent % this.#forecasts.length];
      const ticket = forecast?.admit('q', 5, deadlineMs);
      if (ticket === undefined) throw new Error('no producer');
      const request = { sentAt: this.now, deadlineAt: this.now + deadlineMs, ticket, over: false };
      this.#open.add(request);
      this.#after(WAY_MS, () => this.#queue.push(request));
    } catch (error) {
      expect(error).toMatchObject({ code: 'overloaded', retryable: true });
      this.counts.refused += 1;
    }
  }

  #expire(): void {
    for (const request of this.#open) {
      // They were sent in this order.
      if (request.deadlineAt > this.now) return;
      this.#end(request, false);
      this.#queue = this.#queue.filter((other) => other !== request);
    }
  }

  #end(request: Request, answered: boolean): void {
    if (request.over) return;
    request.over = true;
    this.#open.delete(request);
    if (answered) request.ticket.answered();
    else request.ticket.ended(true);
    this.counts[answered ? 'answered' : 'late'] += 1;
  }

  #fetch(): void {
    if (this.#active >= this.load.lane.credit) return;
    const request = this.#queue.shift();
    if (request === undefined) return;
    this.#active += 1;
    this.#held.push(request);
  }

  #start(): void {
    if (this.#running !== null) return;
    const { lane } = this.load;
    const answerMs = this.#took.ms + 2 * WAY_MS;
    const left = this.#held.filter((request) => !request.over && !inVain(request, this.now, answerMs));
    for (const request of this.#held) if (!left.includes(request)) this.#leave(request, false);
    const running = left.splice(0, lane.batch);
    this.#held = left;
    if (running.length === 0) return;
    this.#running = running;
    const runMs = lane.runMs(running.length);
    this.#after(runMs, () => {
      this.#running = null;
      this.#took.see(runMs);
      for (const request of running) this.#leave(request, true);
    });
  }

  #leave(request: Request, answered: boolean): void {
    this.#after(WAY_MS, () => this.#end(request, answered));
    this.#after(SETTLED_MS, () => {
      this.#active -= 1;
    });
  }
}

const simulate = (load: Load) => new Simulation(load).run().counts;
const cases = Object.entries(LANES).flatMap(([name, lane]) => [1, 4].map((producers) => ({ name, lane, producers })));

describe('an overload', () => {
  it.each(cases)('leaves most of the throughput: $name, $producers producers', ({ lane, producers }) => {
    const seconds = 8;
    for (const deadlineMs of [300, 2_000]) {
      for (const factor of [1.5, 2, 4]) {
        const offered = (): number => factor * perSecond(lane);
        const { answered } = simulate({ lane, offered, deadlineMs, producers, seconds });
        expect([factor, deadlineMs, answered / seconds > 0.85 * perSecond(lane)]).toEqual([factor, deadlineMs, true]);
      }
    }
  });

  it.each(cases)('is none at four fifths, nor where a while of less makes up: $name, $producers producers', (one) => {
    const { lane, producers } = one;
    const base = { lane, producers, deadlineMs: 2_000, seconds: 8 };
    for (const offered of [
      () => 0.8 * perSecond(lane),
      (now: number) => (now % 4_000 < 2_000 ? 1.5 * perSecond(lane) : 0),
    ]) {
      const { refused, late } = simulate({ ...base, offered });
      expect([refused, late]).toEqual([0, 0]);
    }
  });

  it.each(cases)('by one burst answers what can be answered: $name, $producers producers', ({ lane, producers }) => {
    const possible = 1.5 * perSecond(lane);
    const base = { lane, producers, offered: () => 0, deadlineMs: 1_500, seconds: 5 };
    const four = simulate({ ...base, burst: Math.round(4 * possible) });
    expect(four.answered).toBeGreaterThan(0.85 * possible);
    const less = simulate({ ...base, burst: Math.round(0.9 * possible) });
    expect([less.refused, less.late]).toEqual([0, 0]);
  });

  it.each(cases)(
    'of a device that stands still again and again: $name, $producers producers',
    ({ lane, producers }) => {
      const seconds = 10;
      const away = (now: number): boolean => now % 2_500 >= 2_000;
      const offered = (): number => 3 * perSecond(lane);
      const { answered } = simulate({ lane, producers, offered, away, deadlineMs: 2_000, seconds });
      expect(answered / seconds).toBeGreaterThan(0.85 * 0.8 * perSecond(lane));
    },
  );

  it.each(cases)('is not that a worker is away: $name, $producers producers', ({ lane, producers }) => {
    const away = (now: number): boolean => now >= 2_000 && now < 4_000;
    const offered = (): number => 0.5 * perSecond(lane);
    const { refused, late } = simulate({ lane, producers, offered, away, deadlineMs: 5_000, seconds: 10 });
    expect([refused, late]).toEqual([0, 0]);
  });
});
