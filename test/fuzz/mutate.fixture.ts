import type { SeededRandom } from '../support/seeded-random.js';

const ODD: unknown[] = [
  null,
  true,
  -1,
  0,
  1.5,
  1e300,
  '',
  'x',
  [],
  {},
  [[]],
  { constructor: 1 },
  'FP32',
  'INT64',
  [1, 2],
  [1e18],
  [-1, 2],
  ['1'],
];

const ODD_FIELDS = ['id', 'parameters', 'outputs', 'data', 'zzz'];

/** A copy in which one value, somewhere inside, is replaced, removed or added. */
export function mutate(random: SeededRandom, value: unknown): unknown {
  if (random.next() < 0.15 || value === null || typeof value !== 'object') return random.pick(ODD);
  if (Array.isArray(value)) {
    const copy: unknown[] = [...(value as unknown[])];
    if (copy.length === 0 || random.next() < 0.2) copy.push(random.pick(ODD));
    else {
      const at = random.below(copy.length);
      copy[at] = mutate(random, copy[at]);
    }
    return copy;
  }
  const entries = Object.entries(value);
  if (entries.length === 0 || random.next() < 0.1) return { ...value, [random.pick(ODD_FIELDS)]: random.pick(ODD) };
  const at = random.below(entries.length);
  if (random.next() < 0.2) return Object.fromEntries(entries.filter((_, n) => n !== at));
  return Object.fromEntries(entries.map(([key, one], n) => [key, n === at ? mutate(random, one) : one]));
}
