import { describe, expect, it } from 'vitest';
import { LikelyTime } from './likely-time.js';

describe('LikelyTime', () => {
  it('is what was believed before anything was seen, and then what is seen', () => {
    const time = new LikelyTime(100);
    expect(time.ms).toBe(100);
    for (let n = 0; n < 100; n += 1) time.see(5);
    expect(time.ms).toBeCloseTo(5, 1);
  });

  it('is longer than most of what is seen', () => {
    const time = new LikelyTime(20);
    const seen = Array.from({ length: 400 }, (_, n) => 20 + ((n * 7) % 11));
    const within = seen.filter((ms) => {
      const likely = time.ms;
      time.see(ms);
      return ms <= likely;
    });
    expect(within.length).toBeGreaterThan(0.9 * seen.length);
    expect(time.ms).toBeLessThan(35);
  });
});
