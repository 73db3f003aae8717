import { describe, expect, it } from 'vitest';
import { Pipeline } from './pipeline.js';

describe('Pipeline', () => {
  it('knows which of the runs sent the runtime is at', () => {
    const pipeline = new Pipeline();
    const [a, b] = [pipeline.enter(), pipeline.enter()];
    expect([a.isFirst, b.isFirst]).toEqual([true, false]);
    a.end();
    expect(b.isFirst).toBe(true);
    expect(pipeline.enter().isFirst).toBe(false);
  });

  it('begins anew with another runtime', () => {
    const pipeline = new Pipeline();
    const [a, b] = [pipeline.enter(), pipeline.enter()];
    pipeline.clear();
    const c = pipeline.enter();
    expect([a.isFirst, b.isFirst, c.isFirst]).toEqual([true, false, true]);
  });
});
