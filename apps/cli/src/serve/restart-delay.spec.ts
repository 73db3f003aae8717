import { describe, expect, it } from 'vitest';
import { restartDelayMs } from './restart-delay.js';

describe('restartDelayMs', () => {
  it('doubles from 0.2 s to 5 s and starts anew after a steady life', () => {
    const delays: number[] = [];
    let delay: number | null = null;
    for (let death = 0; death < 7; death += 1) {
      delay = restartDelayMs(delay, 50);
      delays.push(delay);
    }
    expect(delays).toEqual([200, 400, 800, 1600, 3200, 5000, 5000]);
    expect(restartDelayMs(5000, 9_999)).toBe(5000);
    expect(restartDelayMs(5000, 10_000)).toBe(200);
  });
});
