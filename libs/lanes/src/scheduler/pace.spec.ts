import { describe, expect, it } from 'vitest';
import { BACKLOG_WAIT_MS, LONG_BATCH_MS, Pace, TURNAROUND_MS } from './pace.js';

/** A device that runs one after the other, each `ms` long; its lane was measured with 20 ms. */
function device(size: number) {
  const pace = new Pace();
  pace.setLargest('a', { size, p50Ms: 20 });
  let now = 1_000;
  return {
    pace,
    run(ms: number, { jobs = 1, items = jobs, times = 1 }: { jobs?: number; items?: number; times?: number } = {}) {
      for (let n = 0; n < times; n += 1) {
        pace.ran('a', { sentAt: now, endedAt: now + ms, jobs, items });
        now += ms;
      }
      return pace.appetite('a');
    },
  };
}

describe('Pace', () => {
  it('wants a batch that runs, the next one, and what runs while others are on their way: by the record at first', () => {
    const pace = new Pace();
    expect(pace.appetite('a')).toEqual({ jobs: 2, batch: 1, backlogMs: BACKLOG_WAIT_MS });
    pace.setLargest('a', { size: 32, p50Ms: 5 });
    const fast = { jobs: 64 + (TURNAROUND_MS * 32) / 5, batch: 32, backlogMs: BACKLOG_WAIT_MS };
    expect(pace.appetite('a')).toEqual(fast);
    pace.setLargest('a', { size: 64, p50Ms: 1_000 });
    expect(pace.appetite('a')).toMatchObject({ jobs: 128 + 3, batch: 64 });
    pace.setLargest('a', null);
    pace.setLargest('a', { size: 8, p50Ms: 1_000 });
    expect(pace.appetite('a').jobs).toBe(16);
  });

  it('wants much on a fast lane, and on a slow one no more than is to run next', () => {
    expect(device(1).run(1, { times: 2_000 }).jobs).toBeGreaterThan(TURNAROUND_MS);
    expect(device(1).run(100, { times: 20 }).jobs).toBe(2);
    expect(device(8).run(1_000, { jobs: 8, times: 3 })).toMatchObject({ jobs: 16, batch: 8 });
  });

  it('takes a wait for proof of a backlog that is long beside the run, and asks for none where batches run for long', () => {
    expect(device(1).run(1, { times: 2_000 }).backlogMs).toBe(BACKLOG_WAIT_MS);
    expect(device(1).run(100, { times: 50 }).backlogMs).toBeCloseTo(50);
    expect(device(8).run(100, { jobs: 8, times: 50 }).backlogMs).toBe(0);
    expect(device(8).run(LONG_BATCH_MS - 1, { jobs: 8, times: 400 }).backlogMs).toBe(BACKLOG_WAIT_MS);
    // Requests that fill it alone gather nothing.
    expect(device(8).run(100, { jobs: 1, items: 8, times: 100 }).backlogMs).toBeCloseTo(50);
  });

  it('takes the pauses of a device that stands still now and then for how long its runs take', () => {
    const { run } = device(1);
    for (let period = 0; period < 10; period += 1) {
      run(380);
      run(0.3, { times: 60 });
    }
    const wanted = run(380);
    expect(wanted.backlogMs).toBeGreaterThan(100);
    expect(run(0.3, { times: 60 }).backlogMs).toBeGreaterThan(100);
  });

  it('follows a device that becomes slower, and one that recovers', () => {
    const { run } = device(1);
    const fast = run(5, { times: 400 }).jobs;
    expect(fast).toBeGreaterThan(TURNAROUND_MS / 5);
    expect(run(100, { times: 15 }).jobs).toBe(2);
    expect(run(5_000).jobs).toBe(2);
    expect(run(5, { times: 100 }).jobs).toBeGreaterThan(0.7 * fast);
    expect(run(5, { times: 1_000 }).jobs).toBeGreaterThanOrEqual(fast - 1);
  });

  it('counts the pauses of a device that is stopped now and then, however short its runs are in between', () => {
    const { run } = device(1);
    for (let period = 0; period < 20; period += 1) {
      run(5, { times: 3 });
      run(85);
    }
    // 25 ms a job, of which most runs see nothing.
    expect(run(5).jobs).toBeLessThanOrEqual(2 + TURNAROUND_MS / 20);
  });

  it('counts what overlaps once: a run that was sent ahead waits for the one before it', () => {
    const pace = new Pace();
    pace.setLargest('a', { size: 1, p50Ms: 20 });
    pace.setLargest('b', { size: 1, p50Ms: 20 });
    pace.ran('a', { sentAt: 0, endedAt: 10, jobs: 1, items: 1 });
    pace.ran('b', { sentAt: 1, endedAt: 20, jobs: 1, items: 1 });
    expect(pace.appetite('b')).toEqual(pace.appetite('a'));
  });

  it('counts jobs, whatever they hold: of requests of four items two fill a lane of eight', () => {
    expect(device(8).run(1_000, { jobs: 2, items: 8, times: 50 })).toMatchObject({ jobs: 4, batch: 2 });
    // One of 32 items takes four runs of such a lane.
    expect(device(8).run(1_000, { jobs: 0.25, items: 8, times: 50 })).toMatchObject({ jobs: 2, batch: 1 });
  });
});
