import { describe, expect, it } from 'vitest';
import { AGING, DeadlineQueue, dueAt, PRIORITY_STEP_MS, type Scheduled } from './deadline-queue.js';

const job = (over: Partial<Scheduled> & { class: string }): Scheduled => ({
  enqueuedAt: 0,
  arrivedAt: 0,
  deadlineAt: 30_000,
  priority: 5,
  ...over,
});

describe('dueAt', () => {
  it('is the deadline where that is nearer than the wait its priority allows', () => {
    expect(dueAt(job({ class: 'a', deadlineAt: 600 }), 100)).toBe(600);
    expect(dueAt(job({ class: 'a', priority: 2 }), 100)).toBe(100 + 2 * PRIORITY_STEP_MS);
  });
});

describe('DeadlineQueue', () => {
  it('counts the wait before a job came here: who lay in its queue for long is not passed again', () => {
    const queue = new DeadlineQueue<Scheduled & { id: string }>();
    queue.add({ ...job({ class: 'a', priority: 0, enqueuedAt: 9_990, arrivedAt: 10_000 }), id: 'urgent' }, 10_000);
    queue.add({ ...job({ class: 'a', priority: 9, enqueuedAt: 100, arrivedAt: 10_000 }), id: 'patient' }, 10_000);
    expect([queue.take(10_000)?.id, queue.take(10_000)?.id]).toEqual(['patient', 'urgent']);
  });

  it('takes the earliest deadline first within a class, first come first in a tie', () => {
    const queue = new DeadlineQueue<Scheduled & { id: string }>();
    queue.add({ ...job({ class: 'a', deadlineAt: 900 }), id: 'late' }, 0);
    queue.add({ ...job({ class: 'a', deadlineAt: 300 }), id: 'soon' }, 0);
    queue.add({ ...job({ class: 'a', deadlineAt: 300 }), id: 'soon too' }, 0);
    queue.add({ ...job({ class: 'a', priority: 0 }), id: 'first' }, 0);
    const taken = Array.from({ length: 4 }, () => queue.take(1)?.id);
    expect(taken).toEqual(['first', 'soon', 'soon too', 'late']);
    expect(queue.take(1)).toBeNull();
    expect(queue.size).toBe(0);
  });

  it('is as before where a turn is not taken', () => {
    const queue = new DeadlineQueue<Scheduled>();
    queue.add(job({ class: 'a', priority: 9 }), 0);
    expect(queue.takeFrom(500, () => null)).toBeNull();
    expect(queue.size).toBe(1);
    // Its wait counts from its start, not from the turn that it let pass.
    queue.add(job({ class: 'b', priority: 5, arrivedAt: 600 }), 600);
    expect(queue.take(1_000)?.class).toBe('a');
  });

  it('gives a class its turn with all of its items, and takes out those that are named', () => {
    const queue = new DeadlineQueue<Scheduled & { id: string }>();
    for (const [id, deadlineAt] of [
      ['c', 900],
      ['a', 300],
      ['b', 600],
    ] as const) {
      queue.add({ ...job({ class: 'x', deadlineAt }), id }, 0);
    }
    queue.add({ ...job({ class: 'y', deadlineAt: 400 }), id: 'other' }, 0);
    const seen: string[][] = [];
    const first = queue.takeFrom(1, (items) => {
      seen.push(items.map(({ id }) => id));
      return items.filter(({ id }) => id !== 'b');
    });
    expect([first, seen, queue.size]).toEqual(['x', [['a', 'b', 'c']], 2]);
    // Nothing of a class may be taken out: its turn was now all the same.
    expect(queue.takeFrom(2, () => [])).toBe('y');
    expect([queue.take(1_000)?.id, queue.take(1_000)?.id]).toEqual(['b', 'other']);
    expect(queue.takeFrom(3, (items) => items)).toBeNull();
  });

  it('takes the earliest deadline over classes', () => {
    const queue = new DeadlineQueue<Scheduled>();
    queue.add(job({ class: 'a', deadlineAt: 900 }), 0);
    queue.add(job({ class: 'b', deadlineAt: 300 }), 0);
    expect(queue.take(1)?.class).toBe('b');
  });

  it('serves a class of the lowest priority within its bound, whatever an urgent class sends', () => {
    const queue = new DeadlineQueue<Scheduled>();
    queue.add(job({ class: 'patient', arrivedAt: 0, priority: 9 }), 0);
    const runMs = 5;
    let now = 0;
    for (; ; now += runMs) {
      queue.add(job({ class: 'urgent', arrivedAt: now, priority: 0 }), now);
      queue.add(job({ class: 'urgent', arrivedAt: now, priority: 0 }), now);
      if (queue.take(now)?.class === 'patient') break;
      expect(now).toBeLessThan(10_000);
    }
    expect(now).toBeLessThanOrEqual((9 * PRIORITY_STEP_MS) / (1 + AGING) + runMs);
  });

  it('gives a class that waits its turn before the next of a backlog', () => {
    const queue = new DeadlineQueue<Scheduled>();
    for (let n = 0; n < 10; n += 1) queue.add(job({ class: 'backlog' }), 0);
    expect(queue.take(0)?.class).toBe('backlog');
    queue.add(job({ class: 'fresh', arrivedAt: 3 }), 3);
    queue.ended('backlog', 5);
    expect(queue.take(5)?.class).toBe('fresh');
  });

  it('takes out what is expired, and what matches', () => {
    const queue = new DeadlineQueue<Scheduled>();
    queue.add(job({ class: 'a', deadlineAt: 10 }), 0);
    queue.add(job({ class: 'a', deadlineAt: 20 }), 0);
    queue.add(job({ class: 'b', deadlineAt: 10 }), 0);
    expect(queue.takeExpired(10).map((item) => item.class)).toEqual(['a', 'b']);
    expect(queue.takeWhere((item) => item.class === 'b')).toEqual([]);
    expect(queue.size).toBe(1);
    expect(queue.take(11)?.deadlineAt).toBe(20);
  });
});
