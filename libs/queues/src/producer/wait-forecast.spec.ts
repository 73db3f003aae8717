import { WarmlaneError } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { type Ticket, WaitForecast } from './wait-forecast.js';

interface Waiting {
  sentAt: number;
  deadlineAt: number;
  ticket: Ticket | null;
}

/**
 * Requests at a steady rate to a device that serves `perSecond` in order, and none past its deadline. Answers take 5 ms.
 *
 * @returns answers in time per second once the first have waited for long, and the share that was refused
 */
function serve(forecast: WaitForecast | null, clock: { now: number }, load: { offered: number; perSecond: number }) {
  const { offered, perSecond } = load;
  const deadlineMs = 2_000;
  const queue: Waiting[] = [];
  let [good, refused, sent, served] = [0, 0, 0, 0];
  const [seconds, countedSeconds] = [10, 5];
  for (const begun = clock.now; clock.now < begun + seconds * 1_000; clock.now += 1) {
    const passed = (clock.now - begun) / 1_000;
    for (; sent < passed * offered; sent += 1) {
      try {
        const ticket = forecast?.admit('q', 5, deadlineMs) ?? null;
        queue.push({ sentAt: clock.now, deadlineAt: clock.now + deadlineMs, ticket });
      } catch (error) {
        expect(error).toMatchObject({ code: 'overloaded', retryable: true });
        refused += 1;
      }
    }
    while (queue[0] !== undefined && queue[0].deadlineAt <= clock.now) queue.shift()?.ticket?.ended(true);
    for (; served < passed * perSecond; served += 1) {
      const next = queue.shift();
      if (next === undefined) continue;
      const inTime = clock.now + 5 <= next.deadlineAt;
      if (inTime) next.ticket?.answered(clock.now - next.sentAt);
      else next.ticket?.ended(true);
      if (inTime && passed > seconds - countedSeconds) good += 1;
    }
  }
  return { perSecond: good / countedSeconds, refusedShare: refused / sent };
}

describe('WaitForecast', () => {
  it('keeps a device answering that gets twice as much as it can take', () => {
    const without = serve(null, { now: 0 }, { offered: 1_500, perSecond: 800 });
    expect(without.perSecond).toBeLessThan(250);
    const clock = { now: 0 };
    const withIt = serve(new WaitForecast(() => clock.now), clock, { offered: 1_500, perSecond: 800 });
    expect(withIt.perSecond).toBeGreaterThan(720);
    expect(withIt.refusedShare).toBeGreaterThan(0.3);
  });

  it('refuses nobody where the device is fast enough, and again nobody soon after an overload', () => {
    const clock = { now: 0 };
    const forecast = new WaitForecast(() => clock.now);
    expect(serve(forecast, clock, { offered: 780, perSecond: 800 })).toMatchObject({ refusedShare: 0 });
    serve(forecast, clock, { offered: 4_000, perSecond: 800 });
    clock.now += 2_000;
    expect(serve(forecast, clock, { offered: 700, perSecond: 800 })).toMatchObject({ refusedShare: 0 });
  });

  it('refuses none of a burst, for nothing was seen to wait', () => {
    const forecast = new WaitForecast(() => 0);
    forecast.admit('q', 5, 2_000).answered(3);
    for (let n = 0; n < 5_000; n += 1) forecast.admit('q', 5, 2_000);
  });

  it('lets in a few, whatever happened to the last ones', () => {
    const forecast = new WaitForecast(() => 0);
    const few = Array.from({ length: 7 }, () => forecast.admit('q', 5, 2_000));
    for (let n = 0; n < 10; n += 1) forecast.admit('q', 5, 2_000).ended(true);
    for (const ticket of few) ticket.ended(true);
  });

  it('judges each by its own deadline, queue and priority', () => {
    const forecast = new WaitForecast(() => 0);
    const late = Array.from({ length: 100 }, () => forecast.admit('q', 5, 2_000));
    const open = forecast.admit('q', 5, 2_000);
    for (const ticket of late) ticket.ended(true);
    for (let n = 0; n < 30; n += 1) forecast.admit('q', 5, 2_000);
    expect(() => Array.from({ length: 100 }, () => forecast.admit('q', 5, 2_000))).toThrow(WarmlaneError);
    open.ended(false);
    forecast.admit('q', 5, 30_000).ended(false);
    forecast.admit('q', 0, 2_000).ended(false);
    forecast.admit('other', 5, 2_000).ended(false);
  });

  it('forgets queues that nobody uses', () => {
    const clock = { now: 0 };
    const forecast = new WaitForecast(() => clock.now);
    for (let n = 0; n < 1_000; n += 1) {
      forecast.admit(`q${n}`, 5, 1_000).answered(1);
      clock.now += 100;
    }
    expect(forecast.size).toBeLessThan(30);
  });
});
