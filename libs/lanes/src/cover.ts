/** A lane that could take part of what waits. */
export interface CoverLane {
  /** Items that it takes in one run. */
  size: number;
  /** What a run costs, however full it is: its recorded median, ms. */
  costMs: number;
}

/** Items beyond this many largest batches do not change which lane is the best to begin with. */
const HORIZON = 4;

/**
 * The lane whose run comes first in the cheapest way to run `items` items on these lanes, one run after the other; a run
 * that is not full costs as much as a full one. 5 items on lanes of 1, 4 and 8 are 4 + 1, or one 8 with three places
 * unused where that costs less. Of equally cheap ways the one with the fewest runs, of its runs the largest first.
 *
 * @returns the position of the lane; null for no lanes or no items
 */
export function firstOfCover(lanes: readonly CoverLane[], items: number): number | null {
  if (lanes.length === 0 || items < 1) return null;
  const largest = Math.max(...lanes.map((lane) => lane.size));
  const most = Math.min(items, HORIZON * largest + (items % largest));
  // best[n]: the cheapest way for n items, with the largest lane in it.
  const best: { costMs: number; runs: number; lane: number }[] = [{ costMs: 0, runs: 0, lane: -1 }];
  for (let n = 1; n <= most; n += 1) {
    let found = { costMs: Number.POSITIVE_INFINITY, runs: 0, lane: -1 };
    lanes.forEach((lane, at) => {
      const rest = best[Math.max(0, n - lane.size)] ?? found;
      const largestOf = rest.lane >= 0 && (lanes[rest.lane]?.size ?? 0) > lane.size ? rest.lane : at;
      const way = { costMs: rest.costMs + lane.costMs, runs: rest.runs + 1, lane: largestOf };
      if (way.costMs < found.costMs || (way.costMs === found.costMs && way.runs < found.runs)) found = way;
    });
    best.push(found);
  }
  const first = best[most]?.lane ?? -1;
  return first < 0 ? null : first;
}
