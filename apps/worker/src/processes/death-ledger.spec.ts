import { describe, expect, it } from 'vitest';
import { DeathLedger } from './death-ledger.js';

const own = { external: false, planned: false };
const outside = { external: true, planned: false };
const planned = { external: false, planned: true };

describe('the death ledger', () => {
  it('calls the device unhealthy at the fifth death within 60 s', () => {
    const ledger = new DeathLedger();
    expect([0, 10, 20, 30].map((s) => ledger.record(own, s * 1000))).toEqual([false, false, false, false]);
    expect(ledger.record(own, 59_999)).toBe(true);
    expect(ledger.unhealthySinceMs).toBe(59_999);
  });

  it('forgets deaths older than 60 s', () => {
    const ledger = new DeathLedger();
    for (const s of [0, 20, 40, 60, 80, 100, 120]) expect(ledger.record(own, s * 1000)).toBe(false);
  });

  it('counts neither signals from outside nor planned ends', () => {
    const ledger = new DeathLedger();
    for (let n = 0; n < 20; n++) expect(ledger.record(n % 2 === 0 ? outside : planned, n)).toBe(false);
    for (let n = 0; n < 4; n++) ledger.record(own, n);
    expect(ledger.record(outside, 5)).toBe(false);
    expect(ledger.record(own, 6)).toBe(true);
  });

  it('stays unhealthy since the first time, until it recovered', () => {
    const ledger = new DeathLedger({ deaths: 2, windowMs: 100 });
    ledger.record(own, 0);
    ledger.record(own, 1);
    expect(ledger.record(outside, 10_000)).toBe(true);
    expect(ledger.record(own, 20_000)).toBe(true);
    expect(ledger.unhealthySinceMs).toBe(1);
    ledger.recover();
    expect(ledger.unhealthySinceMs).toBeNull();
    expect(ledger.record(own, 20_001)).toBe(false);
  });
});
