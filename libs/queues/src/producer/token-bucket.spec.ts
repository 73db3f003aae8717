import { describe, expect, it } from 'vitest';
import { TokenBucket } from './token-bucket.js';

function takeAll(bucket: TokenBucket): number {
  let taken = 0;
  while (bucket.take()) taken += 1;
  return taken;
}

describe('TokenBucket', () => {
  it('starts with its stock', () => {
    expect(takeAll(new TokenBucket(0.05, 20))).toBe(20);
  });

  it('earns its share and no more', () => {
    const bucket = new TokenBucket(0.05, 20);
    takeAll(bucket);
    for (let n = 0; n < 19; n += 1) bucket.earn();
    expect(bucket.take()).toBe(false);
    bucket.earn();
    expect(bucket.take()).toBe(true);
    expect(bucket.take()).toBe(false);
  });

  it('saves up no more than its stock', () => {
    const bucket = new TokenBucket(0.05, 3);
    for (let n = 0; n < 10_000; n += 1) bucket.earn();
    expect(takeAll(bucket)).toBe(3);
  });

  it('stays within the share over long traffic', () => {
    const bucket = new TokenBucket(0.05, 20);
    let taken = 0;
    for (let n = 0; n < 100_000; n += 1) {
      bucket.earn();
      if (bucket.take()) taken += 1;
    }
    expect(taken).toBeLessThanOrEqual(5_020);
    expect(taken).toBeGreaterThanOrEqual(5_000);
  });
});
