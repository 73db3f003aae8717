import { describe, expect, it } from 'vitest';
import { queuePriority } from './queue-priority.js';

const NOW = 1_795_000_000_000;
const at = (enqueuedAt: number, priority: number, deadlineMs = 30_000) =>
  queuePriority({ enqueuedAt, deadlineAt: enqueuedAt + deadlineMs, priority });

describe('queuePriority', () => {
  it('lets the more urgent of two that come together go first', () => {
    const together = Array.from({ length: 10 }, (_, priority) => at(NOW, priority));
    expect(together).toEqual([...together].sort((a, b) => a - b));
    expect(new Set(together).size).toBe(10);
  });

  it('does not let a stream of urgent jobs pass a patient one past three quarters of its time', () => {
    for (const deadlineMs of [4_000, 30_000, 3_600_000]) {
      expect(at(NOW, 9, deadlineMs)).toBeGreaterThan(at(NOW + 0.5 * deadlineMs, 0));
      expect(at(NOW, 9, deadlineMs)).toBeLessThan(at(NOW + 0.75 * deadlineMs + 1_000, 0));
    }
  });

  it('keeps those of one priority in the order in which they came', () => {
    expect(at(NOW, 5)).toBeLessThan(at(NOW + 1_000, 5));
    expect(at(NOW, 5)).toBe(at(NOW + 400, 5));
  });

  it('is one that BullMQ takes, at any time', () => {
    for (let day = 0; day < 60; day += 1) {
      const priority = at(NOW + day * 86_400_000, 9, 3_600_000);
      expect([Number.isInteger(priority), priority >= 1, priority < 2 ** 21]).toEqual([true, true, true]);
    }
    expect(queuePriority({ enqueuedAt: NOW, deadlineAt: NOW - 5, priority: 9 })).toBe(at(NOW, 0));
  });
});
