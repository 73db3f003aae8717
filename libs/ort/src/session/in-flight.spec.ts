import { describe, expect, it } from 'vitest';
import { InFlight } from './in-flight.js';

describe('calls in flight', () => {
  it('delay the release until the last one is done', () => {
    const guard = new InFlight('session', false);
    let released = 0;
    guard.enter();
    guard.enter();
    guard.close(() => {
      released += 1;
    });
    guard.close(() => {
      released += 100;
    });
    expect(guard.closed).toBe(true);
    guard.leave();
    expect(released).toBe(0);
    guard.leave();
    expect(released).toBe(1);
    expect(() => guard.enter()).toThrow('this session is closed');
  });

  it('are one at a time where they exclude each other', () => {
    const guard = new InFlight('lane', true);
    guard.enter();
    expect(() => guard.enter()).toThrow('this lane is running already');
    guard.leave();
    guard.enter();
    guard.leave();
  });
});
