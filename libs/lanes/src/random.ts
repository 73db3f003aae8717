import { createHash } from 'node:crypto';

/** Uniform numbers in [0, 1) with 32 bits each (sfc32), the same for the same seed text on every machine. */
export function randomSource(seedText: string): () => number {
  const seed = createHash('sha256').update(seedText).digest();
  let a = seed.readUInt32LE(0);
  let b = seed.readUInt32LE(4);
  let c = seed.readUInt32LE(8);
  let counter = 1;
  return () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  };
}
