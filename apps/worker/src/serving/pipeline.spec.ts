import { describe, expect, it } from 'vitest';
import { Pipeline } from './pipeline.js';

describe('Pipeline', () => {
  it('knows which of the runs sent the runtime is at', () => {
    const pipeline = new Pipeline(() => 0);
    const [a, b] = [pipeline.enter(10), pipeline.enter(10)];
    expect([a.isFirst, b.isFirst]).toEqual([true, false]);
    a.end();
    expect(b.isFirst).toBe(true);
  });

  it('begins anew with another runtime', () => {
    const pipeline = new Pipeline(() => 0);
    const [a, b] = [pipeline.enter(10), pipeline.enter(10)];
    pipeline.clear();
    const c = pipeline.enter(10);
    expect([a.isFirst, b.isFirst, c.isFirst]).toEqual([true, false, true]);
  });

  it('gives a run the time that those before it may still take', () => {
    let now = 0;
    const pipeline = new Pipeline(() => now);
    const long = pipeline.enter(40_000);
    now = 10_000;
    expect(pipeline.enter(1_000).timeoutMs).toBe(31_000);
    long.end();
  });
});
