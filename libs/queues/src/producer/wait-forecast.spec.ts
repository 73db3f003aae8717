import { describe, expect, it } from 'vitest';
import { type Ticket, WaitForecast } from './wait-forecast.js';

const L = 2_000;

/** A forecast with a clock, and answers at a steady pace. */
function rig() {
  const clock = { now: 0 };
  const forecast = new WaitForecast(() => clock.now);
  const admit = (count: number, leftMs = L, queue = 'q', priority = 5): Ticket[] =>
    Array.from({ length: count }, () => forecast.admit(queue, priority, leftMs));
  /** Answers these one after the other, everyMs apart. */
  const answer = (tickets: Ticket[], everyMs: number): void => {
    for (const ticket of tickets) {
      clock.now += everyMs;
      ticket.answered();
    }
  };
  return { clock, forecast, admit, answer };
}

/** How many of one queue are let in at once before one is refused; at most `most`. */
function admitted(forecast: WaitForecast, leftMs = L, most = 2_000): number {
  const tickets: Ticket[] = [];
  try {
    while (tickets.length < most) tickets.push(forecast.admit('q', 5, leftMs));
  } catch (error) {
    expect(error).toMatchObject({ code: 'overloaded', retryable: true });
  }
  for (const ticket of tickets) ticket.ended(false);
  return tickets.length;
}

// How an overload goes with it is in test/unit/overload.spec.ts.
describe('WaitForecast', () => {
  it('lets in as many as are answered in time at the pace that is seen', () => {
    const { forecast, admit, answer } = rig();
    const line = admit(300);
    answer(line.splice(0, 120), 5);
    // 180 are left; at 5 ms each 340 take 85 % of the time.
    expect(admitted(forecast)).toBe(340 - 180);
  });

  it('refuses nobody before others took a quarter of its time', () => {
    const { forecast, admit, answer } = rig();
    const line = admit(1_000);
    answer(line.splice(0, 99), 5);
    expect(admitted(forecast)).toBe(2_000);
    answer(line.splice(0, 1), 5);
    expect(admitted(forecast)).toBe(0);
  });

  it('follows a pace that changes, and does not take a pause for one', () => {
    const { clock, forecast, admit, answer } = rig();
    const line = admit(3_000);
    answer(line.splice(0, 1_000), 1);
    answer(line.splice(0, 500), 10);
    answer(line.splice(0, 500), 10);
    // A device that was stopped and goes on as before.
    clock.now += 5_000;
    answer(line.splice(0, 500), 10);
    for (const ticket of line.splice(0, 400)) ticket.ended(false);
    expect(admitted(forecast)).toBeGreaterThan(60);
    expect(admitted(forecast)).toBeLessThan(80);
  });

  it('foresees nothing while nobody is answered, as where a worker died', () => {
    const { clock, forecast, admit, answer } = rig();
    answer(admit(300).splice(0, 200), 5);
    clock.now += 1_000;
    expect(admitted(forecast)).toBe(2_000);
  });

  it('refuses none of a burst, for nothing was seen to wait', () => {
    const { admit } = rig();
    admit(1)[0]?.answered();
    admit(5_000);
  });

  it('lets in a few, whatever happened to the last ones', () => {
    const { forecast, admit, answer } = rig();
    const line = admit(400, 20_000);
    answer(line.splice(0, 40), 3_000);
    for (const ticket of line) ticket.ended(true);
    expect(admitted(forecast, 20_000)).toBe(8);
  });

  it('judges each by its own deadline, queue and priority', () => {
    const { forecast, admit, answer } = rig();
    answer(admit(1_000).splice(0, 200), 5);
    expect(admitted(forecast)).toBe(0);
    expect(admitted(forecast, 30_000)).toBe(2_000);
    // They overtake those of long deadlines.
    expect(admitted(forecast, 200)).toBe(2_000);
    admit(100, L, 'q', 0);
    admit(100, L, 'other');
  });

  it('forgets queues that nobody uses', () => {
    const clock = { now: 0 };
    const forecast = new WaitForecast(() => clock.now);
    for (let n = 0; n < 1_000; n += 1) {
      forecast.admit(`q${n}`, 5, 1_000).answered();
      clock.now += 100;
    }
    expect(forecast.size).toBeLessThan(30);
  });
});
