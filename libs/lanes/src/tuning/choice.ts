import type { ProviderName, TuningCandidate } from '@warmlane/contracts';
import { median } from '../percentile.js';
import { isRight } from './search.js';

/** A candidate in the final comparison of one shape: medians of its rounds, ms, one per round of all. */
export interface Contender {
  name: string;
  roundsMs: readonly number[];
  memoryBytes: number | null;
}

/**
 * How much faster a candidate must be to take the place of what is there. Less than 3 % is what a wrong choice may cost;
 * on the CPU neighbours move a median by more.
 */
const MARGIN = { cuda: 0.02, cpu: 0.04 } as const;
/** Chance that rounds of two equal candidates look like a difference. */
const CHANCE = 0.05;
/** Candidates so near to the fastest cannot be told apart: the one with the least memory is taken. */
const TIE = 0.01;

/** Candidates measured within this of the fastest may be faster than it: each ran at another time. */
const NEAR = { cuda: 1.15, cpu: 1.4 } as const;
const MOST_FASTEST = 4;

/** In another order each time: whoever always ran after the same one would always pay for what that one left behind. */
export function shuffled<T>(items: readonly T[], random: () => number = Math.random): T[] {
  return items
    .map((item) => ({ item, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}

/** Probability of at least so many wins in so many rounds where both are equal. */
export function chanceOfWins(wins: number, rounds: number): number {
  let sum = 0;
  let ways = 1;
  for (let k = 0; k <= rounds; k += 1) {
    if (k >= wins) sum += ways;
    ways = (ways * (rounds - k)) / (k + 1);
  }
  return sum / 2 ** rounds;
}

/** True where `a` is faster than `b` by the margin, in more rounds than chance would have it. */
export function isFaster(provider: ProviderName, a: Contender, b: Contender): boolean {
  const rounds = Math.min(a.roundsMs.length, b.roundsMs.length);
  if (rounds === 0) return false;
  const ratios = a.roundsMs.slice(0, rounds).map((ms, round) => ms / (b.roundsMs[round] ?? Number.NaN));
  // Written so that NaN is not faster.
  if (!(median(ratios) <= 1 - MARGIN[provider])) return false;
  return chanceOfWins(ratios.filter((ratio) => ratio < 1).length, rounds) <= CHANCE;
}

/**
 * Who meets in the final comparison: the fastest by their own trials, what the lane is made with now, and ONNX Runtime's
 * defaults. Fewer than two: there is nothing to compare.
 */
export function finalistsOf(
  provider: ProviderName,
  found: readonly TuningCandidate[],
  keep: readonly (TuningCandidate | null)[],
): TuningCandidate[] {
  const right = found.filter(isRight).sort((a, b) => (a.p50Ms ?? 0) - (b.p50Ms ?? 0));
  const limitMs = (right[0]?.p50Ms ?? 0) * NEAR[provider];
  const fastest = right.filter(({ p50Ms }) => (p50Ms ?? 0) <= limitMs).slice(0, MOST_FASTEST);
  const kept = right.filter((candidate) => keep.some((one) => one?.name === candidate.name));
  return [...new Set([...fastest, ...kept])];
}

/**
 * The name of the contender that lanes are made with: the fastest, if it is faster than the incumbent and ONNX Runtime's
 * defaults beyond chance; else whichever of those two is. Null without contenders.
 */
export function choose(
  provider: ProviderName,
  contenders: readonly Contender[],
  names: { incumbent: string | null; defaults: string | null },
): string | null {
  const find = (name: string | null) => contenders.find((one) => one.name === name) ?? null;
  const incumbent = find(names.incumbent);
  const defaults = find(names.defaults);
  const baseline =
    incumbent === null || (defaults !== null && isFaster(provider, defaults, incumbent)) ? defaults : incumbent;
  const ranked = contenders.filter(({ roundsMs }) => roundsMs.length > 0).sort((a, b) => midOf(a) - midOf(b));
  if (baseline === null) return leanest(ranked)?.name ?? null;
  return leanest(ranked.filter((one) => isFaster(provider, one, baseline)))?.name ?? baseline.name;
}

/** Of those that cannot be told from the fastest, the one that takes the least memory. */
function leanest(ranked: readonly Contender[]): Contender | null {
  const [fastest] = ranked;
  if (fastest === undefined) return null;
  const memory = ({ memoryBytes }: Contender) => memoryBytes ?? Number.POSITIVE_INFINITY;
  return ranked
    .filter((one) => midOf(one) <= midOf(fastest) * (1 + TIE))
    .reduce((best, one) => (memory(one) < memory(best) ? one : best), fastest);
}

function midOf({ roundsMs }: Contender): number {
  return roundsMs.length === 0 ? Number.POSITIVE_INFINITY : median(roundsMs);
}

/** What one shape may be made with. */
export interface ShapeChoice {
  shapeKey: string;
  /** By latency alone; null where nothing is right. */
  chosen: string | null;
  found: readonly TuningCandidate[];
}

/**
 * Brings the choices of a model's shapes within a bound of memory together: as long as they take more, the shape changes
 * that gives up the least latency for what it saves. Where even the smallest are too large they stand: admission says
 * which lanes have no room.
 * @returns the name by shape key; shapes without a right candidate are left out
 */
export function chooseWithin(shapes: readonly ShapeChoice[], boundBytes: number): Map<string, string> {
  const now = new Map<string, TuningCandidate>();
  for (const { shapeKey, chosen, found } of shapes) {
    const candidate = found.find(({ name }) => name === chosen);
    if (candidate !== undefined) now.set(shapeKey, candidate);
  }
  const total = () => [...now.values()].reduce((sum, { memoryBytes }) => sum + (memoryBytes ?? 0), 0);
  while (total() > boundBytes) {
    let best: { shapeKey: string; to: TuningCandidate; cost: number } | null = null;
    for (const { shapeKey, found } of shapes) {
      const from = now.get(shapeKey);
      if (from === undefined) continue;
      for (const to of found.filter(isRight)) {
        const saved = (from.memoryBytes ?? 0) - (to.memoryBytes ?? Number.POSITIVE_INFINITY);
        if (saved <= 0) continue;
        const cost = Math.max(0, (to.p50Ms ?? 0) / (from.p50Ms ?? 1) - 1) / saved;
        if (best === null || cost < best.cost) best = { shapeKey, to, cost };
      }
    }
    if (best === null) break;
    now.set(best.shapeKey, best.to);
  }
  return new Map([...now].map(([shapeKey, { name }]) => [shapeKey, name]));
}

/** The table of one shape once the choice is made: each measured candidate won, is slower, or takes too much memory. */
export function settle(
  found: readonly TuningCandidate[],
  chosen: string | null,
  byLatency: string | null,
): TuningCandidate[] {
  const winner = found.find(({ name }) => name === chosen);
  return found.map((candidate) => {
    if (!isRight(candidate)) return candidate;
    if (candidate.name === chosen) return { ...candidate, outcome: 'won' };
    const larger = (candidate.memoryBytes ?? 0) > (winner?.memoryBytes ?? 0);
    if (candidate.name === byLatency && larger) {
      return { ...candidate, outcome: 'over-memory', reason: 'faster, and more than the memory of the model allows' };
    }
    return { ...candidate, outcome: 'slower' };
  });
}
