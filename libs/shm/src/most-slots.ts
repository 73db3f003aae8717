import { readFileSync } from 'node:fs';

/** More tensors than a loaded process has in flight: 600 requests/s with a deadline of 2 s are 1,200. */
const MOST_SLOTS = 4_096;
/** Each slot keeps its file open; connections and everything else need descriptors too. */
const SHARE = 0.25;

/** How many slots a process may have. */
export function mostSlots(limits: string = readFileSync('/proc/self/limits', 'utf8')): number {
  // Node raises its own limit to the highest that it may have.
  const open = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  const files = open === undefined || open === 'unlimited' ? Number.POSITIVE_INFINITY : Number(open);
  return Math.min(MOST_SLOTS, Math.floor(files * SHARE));
}
