import { cropsOf, type LaneItem, type NamedTensor, sliceAxis } from '@warmlane/contracts';
import type { ReadyLane } from '../ports.js';
import { sizeOf } from './lane-index.js';
import type { Turn } from './pump.js';
import { type Work, waitedInVain } from './work.js';

/** Some items of one request in a run. */
export interface Part {
  readonly work: Work;
  readonly from: number;
  readonly count: number;
}

/** One run of a lane: items of as many requests as it takes. */
export interface LaneBatch {
  readonly lane: ReadyLane;
  readonly parts: readonly Part[];
}

export interface BatchRules {
  now: number;
  /** Something else still runs: only a full run goes ahead of its turn, another one gathers until that has ended. */
  ahead: boolean;
  /** Items of the largest lane of a class. */
  largest: (key: string, padded: boolean) => number;
  /** The lane for so many items of a class. */
  pick: (key: string, items: number, padded: boolean) => ReadyLane | null;
  /** From now until the answers of a run on the lane are with their senders, as far as it is known, ms. */
  answerMs: (lane: ReadyLane) => number;
  /** Its deadline passed before it began, or it waited in vain. */
  expired: (work: Work) => void;
  /** No lane serves it any more. */
  unserved: (work: Work) => void;
}

/**
 * What runs next of the waiting work of one class, most urgent first: as many items as the lane of the cheapest cover
 * takes. A request that does not fit is cut: the rest of it stays where it is, first in its line.
 *
 * @returns null where more is to be gathered first
 */
export function planBatch(waiting: readonly Work[], rules: BatchRules): Turn<Work, LaneBatch> | null {
  const taken = waiting.filter((work) => work.deadlineAt <= rules.now);
  for (const work of taken) rules.expired(work);
  const [head, ...others] = waiting.filter((work) => work.deadlineAt > rules.now);
  if (head === undefined) return { run: null, taken };
  const group = head.alone ? [head] : [head, ...others.filter((work) => goWith(head, work))];
  const items = group.reduce((sum, work) => sum + work.progress.left, 0);
  const padded = group.some((work) => work.padded);
  if (rules.ahead && taken.length === 0 && items < rules.largest(head.key, padded)) return null;
  const lane = rules.pick(head.key, items, padded) ?? (padded ? rules.pick(head.key, items, false) : null);
  if (lane === null || (head.padded && lane.pad === null)) {
    rules.unserved(head);
    return { run: null, taken: [...taken, head] };
  }
  const answerMs = rules.answerMs(lane);
  const vain = group.filter((work) => waitedInVain(work, rules.now, answerMs));
  if (vain.length > 0) {
    for (const work of vain) rules.expired(work);
    const out = new Set([...taken, ...vain]);
    const next = planBatch(
      waiting.filter((work) => !out.has(work)),
      rules,
    );
    return { run: next?.run ?? null, taken: [...out, ...(next?.taken ?? [])] };
  }
  const parts: Part[] = [];
  let room = sizeOf(lane);
  for (const work of group) {
    if (room === 0) break;
    if (work.padded && lane.pad === null) continue;
    const count = Math.min(room, work.progress.left);
    parts.push({ work, from: work.progress.begin(count), count });
    room -= count;
    if (work.progress.allBegun) taken.push(work);
  }
  return { run: { lane, parts }, taken };
}

function goWith(head: Work, work: Work): boolean {
  return !work.alone && work.shared === head.shared && work.axes !== null && head.axes !== null;
}

/** True where a request fills the lane exactly: its tensors go there as they came. */
export function isWhole({ lane, parts }: LaneBatch): boolean {
  const [part] = parts;
  if (part === undefined || parts.length > 1 || part.work.padded) return false;
  return part.count === part.work.items && part.count === sizeOf(lane);
}

/** What of a request goes into a run: its own items, and how the outputs are cropped if it is padded. */
export function itemOf({ work, from, count }: Part, lane: ReadyLane): LaneItem {
  const { axes } = work;
  const inputs = work.inputs.map((input): NamedTensor => {
    const axis = axes?.inputs[input.name];
    return axis === undefined ? input : sliceAxis(input, axis, from, count);
  });
  return { inputs, crops: work.padded && lane.pad !== null ? cropsOf(lane.pad, inputs, lane.inputs) : [] };
}

/** The outputs that any of the requests wants, in the model's order. */
export function outputsOf({ lane, parts }: LaneBatch): string[] {
  return lane.outputs.filter((name) => parts.some(({ work }) => work.request.outputs.includes(name)));
}

/** The outputs that one request wants, in its order. */
export function ownOutputs(work: Work, outputs: readonly NamedTensor[]): NamedTensor[] {
  return work.request.outputs.flatMap((name) => outputs.find((output) => output.name === name) ?? []);
}
