import { createLogger } from '@warmlane/observability';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DeviceHealth } from './device-health.js';
import type { ProcessDown } from './ports.js';

const MINUTE_MS = 60_000;
const died = (over: Partial<ProcessDown> = {}): ProcessDown => ({
  code: null,
  signal: 'SIGSEGV',
  external: false,
  planned: false,
  serving: false,
  reason: 'killed by SIGSEGV',
  ...over,
});

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function make(unhealthyMs?: number) {
  const shown: string[] = [];
  const end = vi.fn();
  const health = new DeviceHealth({
    logger: createLogger({ role: 'worker', level: 'silent' }),
    show: (state) => shown.push(state),
    end,
    ...(unhealthyMs === undefined ? {} : { unhealthyMs }),
  });
  return { health, shown, end };
}

describe('DeviceHealth', () => {
  it('shows nothing before the worker serves, then degraded while the runtime is away', () => {
    const { health, shown } = make();
    health.up();
    expect(shown).toEqual([]);
    health.start();
    health.down(died());
    health.up();
    expect(shown).toEqual(['serving', 'degraded', 'serving']);
  });

  it('gives a device up at the fifth death within 60 s, for good, and ends the process with 1 after 5 minutes', () => {
    const { health, shown, end } = make();
    health.start();
    for (let n = 0; n < 5; n += 1) {
      vi.advanceTimersByTime(10_000);
      health.down(died());
      health.up();
    }
    expect(shown.slice(-2)).toEqual(['serving', 'device-unhealthy']);
    // More deaths neither end it sooner nor put it off.
    vi.advanceTimersByTime(3 * MINUTE_MS);
    health.down(died());
    vi.advanceTimersByTime(2 * MINUTE_MS - 1);
    expect(end).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(end.mock.calls).toEqual([[1]]);
  });

  it('ends after the time it is given', () => {
    const { health, end } = make(1_000);
    for (let n = 0; n < 5; n += 1) health.down(died());
    vi.advanceTimersByTime(1_000);
    expect(end.mock.calls).toEqual([[1]]);
  });

  it.each([
    ['slow', 15_001, {}],
    ['external', 0, { external: true, signal: 'SIGKILL' as const }],
    ['planned', 0, { planned: true }],
  ])('lives with deaths that are %s', (_what, everyMs, over) => {
    const { health, shown, end } = make();
    for (let n = 0; n < 12; n += 1) {
      health.down(died(over));
      vi.advanceTimersByTime(everyMs);
    }
    vi.advanceTimersByTime(6 * MINUTE_MS);
    expect(new Set(shown)).toEqual(new Set(['degraded']));
    expect(end).not.toHaveBeenCalled();
  });

  it('ends at once where the runtime does not go away', () => {
    const { health, shown, end } = make();
    health.lost();
    expect(shown).toEqual(['device-unhealthy']);
    expect(end.mock.calls).toEqual([[1]]);
  });
});
