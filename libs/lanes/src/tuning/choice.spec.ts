import type { TuningCandidate } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { type Contender, chanceOfWins, choose, chooseWithin, finalistsOf, isFaster, settle } from './choice.js';

const candidate = (name: string, p50Ms: number | null, over: Partial<TuningCandidate> = {}): TuningCandidate => ({
  name,
  options: {},
  outcome: 'measured',
  firstMs: null,
  p50Ms,
  p99Ms: p50Ms,
  relativeError: 0,
  memoryBytes: null,
  reason: '',
  signal: null,
  ...over,
});

/** Rounds of one median with noise that is the same for all (load on the device) and noise of its own. */
function rounds(ms: number, seed: number, { own = 0.02, common = 0.5, count = 15 } = {}): number[] {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  return Array.from({ length: count }, (_, round) => {
    const load = 1 + common * Math.abs(Math.sin(round * 12.9898));
    return ms * load * (1 + own * (random() - 0.5));
  });
}
const contender = (name: string, roundsMs: number[], memoryBytes: number | null = null): Contender => ({
  name,
  roundsMs,
  memoryBytes,
});

describe('isFaster', () => {
  it('counts chances exactly', () => {
    expect(chanceOfWins(0, 5)).toBe(1);
    expect(chanceOfWins(5, 5)).toBeCloseTo(1 / 32);
    expect(chanceOfWins(12, 15)).toBeCloseTo(0.0176, 4);
  });

  it('sees 10 % through load that doubles every latency, and nothing between equals', () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const slow = contender('slow', rounds(10, seed));
      const fast = contender('fast', rounds(9, seed + 1_000));
      expect(isFaster('cuda', fast, slow)).toBe(true);
      expect(isFaster('cuda', slow, fast)).toBe(false);
      expect(isFaster('cuda', contender('same', rounds(10, seed + 2_000)), slow)).toBe(false);
    }
  });

  it('a few rounds prove little, NaN nothing', () => {
    expect(isFaster('cuda', contender('a', [5, 5, 5, 5]), contender('b', [9, 9, 9, 9]))).toBe(false);
    expect(isFaster('cuda', contender('a', [5, 5, 5, 5, 5]), contender('b', [9, 9, 9, 9, 9]))).toBe(true);
    const nan = contender(
      'a',
      Array.from({ length: 9 }, () => Number.NaN),
    );
    expect(isFaster('cuda', nan, contender('b', rounds(9, 1, { count: 9 })))).toBe(false);
    expect(isFaster('cuda', contender('a', []), contender('b', [1]))).toBe(false);
  });
});

describe('choose', () => {
  const names = { incumbent: 'exhaustive', defaults: 'ort-defaults' };

  it('takes the fastest that beats incumbent and defaults', () => {
    const found = [
      contender('ort-defaults', rounds(3.3, 1)),
      contender('exhaustive', rounds(1.02, 2)),
      contender('heuristic', rounds(0.87, 3)),
    ];
    expect(choose('cuda', found, names)).toBe('heuristic');
  });

  it('stays with the incumbent where the difference may be chance', () => {
    const found = [contender('exhaustive', rounds(1, 2)), contender('heuristic', rounds(0.995, 3))];
    expect(choose('cuda', found, names)).toBe('exhaustive');
  });

  it('is never slower than the defaults, also where the incumbent is', () => {
    const found = [
      contender('ort-defaults', rounds(1, 1)),
      contender('exhaustive', rounds(1.4, 2)),
      contender('heuristic', rounds(1.3, 3)),
    ];
    expect(choose('cuda', found, names)).toBe('ort-defaults');
  });

  it('an incumbent that is wrong does not stand', () => {
    const found = [contender('ort-defaults', rounds(3, 1)), contender('heuristic', rounds(0.9, 3))];
    expect(choose('cuda', found, names)).toBe('heuristic');
    expect(choose('cuda', [contender('no-tf32', rounds(9, 1))], names)).toBe('no-tf32');
    expect(choose('cuda', [], names)).toBeNull();
  });

  it('of equals takes the one with the least memory', () => {
    const found = [
      contender('exhaustive', rounds(2, 2)),
      contender('heuristic', rounds(1, 3), 9_188),
      contender('workspace-0', rounds(1.001, 3), 540),
    ];
    expect(choose('cuda', found, names)).toBe('workspace-0');
  });

  it('over 300 noisy worlds the choice is within 3 % of the best, and never slower than the defaults', () => {
    for (let seed = 1; seed <= 300; seed += 1) {
      const truth = new Map([
        ['ort-defaults', 3 - (seed % 7) * 0.3],
        ['exhaustive', 1 + (seed % 11) * 0.02],
        ['heuristic', 1 + (seed % 13) * 0.02],
        ['workspace-0', 1 + (seed % 5) * 0.01],
      ]);
      const found = [...truth].map(([name, ms], at) => contender(name, rounds(ms, seed * 10 + at, { own: 0.03 })));
      const ms = truth.get(choose('cuda', found, names) ?? '') ?? Number.NaN;
      expect(ms / Math.min(...truth.values())).toBeLessThan(1.03);
      expect(ms).toBeLessThanOrEqual((truth.get('ort-defaults') ?? 0) * 1.02);
    }
  });
});

describe('finalistsOf', () => {
  it('are the fastest that are right, and those they have to beat', () => {
    const defaults = candidate('ort-defaults', 3.3);
    const found = [
      defaults,
      candidate('exhaustive', 1.02),
      candidate('heuristic', 0.87),
      candidate('default', 23),
      candidate('fused-conv-bias', null, { outcome: 'nan' }),
      candidate('nhwc', 0.5, { outcome: 'wrong-numbers' }),
      candidate('workspace-0', null, { outcome: 'crashed', signal: 'SIGSEGV' }),
    ];
    const names = finalistsOf('cuda', found, [defaults, found[1] ?? null, null]).map(({ name }) => name);
    expect(names.sort()).toEqual(['exhaustive', 'heuristic', 'ort-defaults']);
  });
});

describe('chooseWithin', () => {
  const MIB = 2 ** 20;
  const shape = (shapeKey: string, chosen: string | null, found: TuningCandidate[]) => ({ shapeKey, chosen, found });
  const fast = (ms: number, mib: number) => candidate('fast', ms, { memoryBytes: mib * MIB });
  const lean = (ms: number, mib: number) => candidate('lean', ms, { memoryBytes: mib * MIB });

  it('changes nothing within the bound', () => {
    const shapes = [shape('a', 'fast', [fast(1, 400), lean(2, 100)])];
    expect(chooseWithin(shapes, 400 * MIB)).toEqual(new Map([['a', 'fast']]));
  });

  it('gives up the least latency for what it saves', () => {
    const shapes = [
      shape('a', 'fast', [fast(1, 400), lean(3, 100)]),
      shape('b', 'fast', [fast(1, 400), lean(1.1, 100)]),
      shape('none', null, [candidate('crashed', null, { outcome: 'crashed' })]),
    ];
    expect(chooseWithin(shapes, 600 * MIB)).toEqual(
      new Map([
        ['a', 'fast'],
        ['b', 'lean'],
      ]),
    );
    expect(chooseWithin(shapes, 250 * MIB)).toEqual(
      new Map([
        ['a', 'lean'],
        ['b', 'lean'],
      ]),
    );
    // Nothing smaller is right: admission says what has no room.
    expect(chooseWithin(shapes, MIB).get('a')).toBe('lean');
  });
});

describe('settle', () => {
  it('says of each what became of it, and of the crashed and wrong ones what they are', () => {
    const found = [
      candidate('fast', 1, { memoryBytes: 500 }),
      candidate('lean', 2, { memoryBytes: 100 }),
      candidate('ort-defaults', 3, { memoryBytes: 90 }),
      candidate('nan', null, { outcome: 'nan' }),
      candidate('killed', null, { outcome: 'crashed', signal: 'SIGKILL' }),
    ];
    expect(settle(found, 'lean', 'fast').map(({ outcome }) => outcome)).toEqual([
      'over-memory',
      'won',
      'slower',
      'nan',
      'crashed',
    ]);
    expect(settle(found, null, null).map(({ outcome }) => outcome)[0]).toBe('slower');
  });
});
