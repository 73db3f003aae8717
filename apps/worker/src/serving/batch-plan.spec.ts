import { type BatchAxes, modelConfigSchema, type NamedTensor, padPlanOf } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import type { ReadyLane } from '../ports.js';
import { isWhole, itemOf, planBatch } from './batch-plan.js';
import { LaneIndex } from './lane-index.js';
import { Progress } from './progress.js';
import type { Work } from './work.js';

const AXES: BatchAxes = { inputs: { x: 0 }, outputs: { y: 0 } };
const lane = (size: number, p50Ms: number, over: Partial<ReadyLane> = {}): ReadyLane => ({
  id: `${size}`,
  model: 'm',
  version: '1',
  shapeKey: `x:uint8[${size},4]`,
  class: 'x:uint8[b,4]',
  inputs: [{ name: 'x', dtype: 'uint8', dims: [size, 4] }],
  outputs: ['y', 'z'],
  epoch: 1,
  p50Ms,
  batch: { axes: AXES, size },
  pad: null,
  ...over,
});
const work = (items: number, over: Partial<Work> = {}): Work => ({
  class: 'm/1/x:uint8[b,4]',
  key: 'm/1/x:uint8[b,4]',
  enqueuedAt: 0,
  arrivedAt: 0,
  deadlineAt: 100,
  priority: 5,
  request: {
    v: 1,
    request: 'r',
    producer: 'p',
    model: 'm',
    version: '1',
    shapeKey: '',
    inputs: [],
    outputs: ['y'],
    deadlineAt: 100,
    enqueuedAt: 0,
    priority: 5,
    repeat: false,
  },
  inputs: [{ name: 'x', dtype: 'uint8', dims: [items, 4], data: new Uint8Array(items * 4).fill(items) }],
  axes: AXES,
  items,
  rows: items,
  padded: false,
  shared: '',
  alone: false,
  progress: new Progress(items),
  done: () => undefined,
  failed: () => undefined,
  ...over,
});

function indexOf(lanes: readonly ReadyLane[]): LaneIndex {
  const index = new LaneIndex();
  for (const one of lanes) index.add(one);
  return index;
}

function plan(waiting: Work[], lanes: ReadyLane[], now = 0) {
  const index = indexOf(lanes);
  const expired: Work[] = [];
  const unserved: Work[] = [];
  const turn = planBatch(waiting, {
    now,
    ahead: false,
    largest: (key, padded) => index.largestOf(key, padded),
    pick: (key, items, padded) => index.pick(key, items, padded),
    answerMs: (one) => one.p50Ms,
    expired: (one) => expired.push(one),
    unserved: (one) => unserved.push(one),
  });
  if (turn === null) throw new Error('a free device waits for nothing');
  const parts = turn.run?.parts.map((part) => [waiting.indexOf(part.work), part.from, part.count]);
  return {
    lane: turn.run?.lane.id,
    parts,
    taken: turn.taken.map((one) => waiting.indexOf(one)),
    expired,
    unserved,
    turn,
  };
}

const CPU = [lane(1, 10), lane(4, 38)];

/** The lane that goes ahead of its turn; null where more is gathered first. */
function ahead(waiting: Work[], lanes: ReadyLane[], now = 0) {
  const index = indexOf(lanes);
  const turn = planBatch(waiting, {
    now,
    ahead: true,
    largest: (key, padded) => index.largestOf(key, padded),
    pick: (key, items, padded) => index.pick(key, items, padded),
    answerMs: (one) => one.p50Ms,
    expired: () => undefined,
    unserved: () => undefined,
  });
  return turn === null ? null : turn.run?.lane.id;
}

describe('planBatch', () => {
  it('sends only a full run ahead of its turn', () => {
    const begun = work(2);
    expect(ahead([begun, work(1)], CPU)).toBeNull();
    expect(begun.progress.left).toBe(2);
    expect(ahead([work(2), work(1), work(1)], CPU)).toBe('4');
    expect(ahead([work(9)], CPU)).toBe('4');
    expect(ahead([work(1)], [lane(1, 10)])).toBe('1');
    // Lanes of the exact shape only, and work that must not go with others.
    const padding = lane(1, 10, { id: 'p', pad: { axes: [], digest: '' } });
    expect(ahead([work(1, { padded: true })], [...CPU, padding])).toBe('p');
    expect(ahead([work(1, { alone: true }), work(3)], CPU)).toBeNull();
  });

  it('runs together what waits, as the cheapest cover says', () => {
    const five = Array.from({ length: 5 }, () => work(1));
    const first = plan(five, CPU);
    expect(first).toMatchObject({ lane: '4', taken: [0, 1, 2, 3] });
    expect(plan(five.slice(4), CPU)).toMatchObject({ lane: '1', taken: [0] });
    const gpu = [lane(1, 1), lane(4, 1.2), lane(8, 1.5)];
    expect(
      plan(
        Array.from({ length: 5 }, () => work(1)),
        gpu,
      ),
    ).toMatchObject({ lane: '8', taken: [0, 1, 2, 3, 4] });
  });

  it('cuts a request that is larger than what is free, and than any lane', () => {
    const waiting = [work(3), work(7)];
    expect(plan(waiting, CPU)).toMatchObject({
      lane: '4',
      parts: [
        [0, 0, 3],
        [1, 0, 1],
      ],
      taken: [0],
    });
    expect(plan(waiting.slice(1), CPU)).toMatchObject({ lane: '4', parts: [[0, 1, 4]], taken: [] });
    expect(plan(waiting.slice(1), CPU)).toMatchObject({ lane: '1', parts: [[0, 5, 1]], taken: [] });
    expect(plan(waiting.slice(1), CPU)).toMatchObject({ lane: '1', parts: [[0, 6, 1]], taken: [0] });
  });

  it('does not run what is past its deadline', () => {
    const waiting = [work(1, { deadlineAt: 5 }), work(1), work(1, { deadlineAt: 4 })];
    const { expired, parts, taken } = plan(waiting, CPU, 5);
    expect(expired).toEqual([waiting[0], waiting[2]]);
    expect(parts).toEqual([[1, 0, 1]]);
    expect(taken).toEqual([0, 2, 1]);
    expect(plan([work(1, { deadlineAt: 5 })], CPU, 9)).toMatchObject({ lane: undefined, taken: [0] });
  });

  it('does not run what waited until it cannot be answered any more, and runs the next instead', () => {
    const waited = (leftMs: number) => work(1, { enqueuedAt: -1_000, deadlineAt: leftMs });
    const waiting = [waited(37), waited(39), ...Array.from({ length: 3 }, () => waited(200))];
    expect(plan(waiting, CPU)).toMatchObject({ lane: '4', expired: [waiting[0]], taken: [0, 1, 2, 3, 4] });
    // Without the fourth a smaller lane runs, which the third can await.
    const three = [waited(37), waited(37), waited(37), waited(12)];
    expect(plan(three, [lane(1, 10), lane(4, 20)]).expired).toEqual([three[3]]);
    expect(plan([waited(9), waited(5)], CPU)).toMatchObject({ lane: undefined, taken: [0, 1] });
    // What has just come runs whatever its deadline, and what has begun is ended.
    expect(plan([work(1, { deadlineAt: 9 })], CPU)).toMatchObject({ lane: '1', expired: [] });
    const cut = work(9, { enqueuedAt: -1_000, deadlineAt: 60 });
    expect(plan([cut], CPU).expired).toEqual([]);
    expect(plan([cut], CPU, 40)).toMatchObject({ lane: '4', expired: [] });
  });

  it('keeps apart what must not share a run', () => {
    const alone = [work(1, { alone: true }), work(1)];
    expect(plan(alone, CPU).taken).toEqual([0]);
    expect(plan([work(1), work(1, { alone: true }), work(1)], CPU).parts?.map(([at]) => at)).not.toContain(1);
    const rates = [work(1, { shared: '8k' }), work(1, { shared: '16k' }), work(1, { shared: '8k' })];
    expect(plan(rates, [lane(4, 1)]).taken).toEqual([0, 2]);
    const whole = [work(1, { axes: null }), work(1, { axes: null })];
    expect(plan(whole, [lane(1, 1, { batch: null })]).taken).toEqual([0]);
  });

  it('gives back what no lane serves any more', () => {
    const { unserved, taken } = plan([work(1)], []);
    expect([unserved.length, taken]).toEqual([1, [0]]);
    expect(plan([work(1, { padded: true })], CPU).unserved).toHaveLength(1);
  });

  it('runs padded and exact requests together where padding is proven', () => {
    const metadata = {
      inputs: [{ name: 'x', dtype: 'uint8' as const, dims: ['N', 'W'] }],
      outputs: [{ name: 'y', dtype: 'uint8' as const, dims: ['N', 'W'] }],
    };
    const pad = padPlanOf(
      metadata,
      modelConfigSchema.parse({ pad: { x: { axis: 1, to: [4], outputs: { y: { axis: 1, crop: 'd' } } } } }),
      AXES,
    );
    const narrow = (width: number): NamedTensor[] => [
      { name: 'x', dtype: 'uint8', dims: [1, width], data: new Uint8Array(width) },
    ];
    const waiting = [work(1, { padded: true, inputs: narrow(2) }), work(1)];
    const { turn, taken } = plan(waiting, [lane(4, 1, { pad })]);
    expect(taken).toEqual([0, 1]);
    const items = turn.run?.parts.map((part) => itemOf(part, turn.run?.lane ?? lane(1, 1)));
    expect(items?.map(({ crops }) => crops)).toEqual([[{ output: 'y', axis: 1, size: 2 }], []]);
  });
});

describe('a run of one request', () => {
  it('is whole where it fills the lane exactly', () => {
    const whole = (items: number, of: ReadyLane, over: Partial<Work> = {}) => {
      const { turn } = plan([work(items, over)], [of]);
      return turn.run === null ? null : isWhole(turn.run);
    };
    expect(whole(4, lane(4, 1))).toBe(true);
    expect(whole(3, lane(4, 1))).toBe(false);
    expect(whole(8, lane(4, 1))).toBe(false);
    expect(whole(1, lane(1, 1, { batch: null }), { axes: null })).toBe(true);
  });

  it('takes its own items along the batch axis', () => {
    const { turn } = plan([work(6)], [lane(4, 1)]);
    const [part] = turn.run?.parts ?? [];
    expect(part && itemOf(part, lane(4, 1)).inputs[0]?.dims).toEqual([4, 4]);
  });
});

describe('Progress', () => {
  it('puts the outputs of a request together again, in whatever order its runs end', () => {
    const progress = new Progress(5);
    const y = (...values: number[]): NamedTensor => ({
      name: 'y',
      dtype: 'uint8',
      dims: [values.length],
      data: Uint8Array.from(values),
    });
    const run = (...values: number[]) => ({ outputs: [y(...values)], copyMs: 1, computeMs: 2 });
    expect([progress.begin(2), progress.begin(2), progress.left, progress.begin(1)]).toEqual([0, 2, 1, 4]);
    expect(progress.end(4, 1, run(5), 30)).toBe(false);
    expect(progress.end(0, 2, run(1, 2), 10)).toBe(false);
    expect(progress.end(2, 2, run(3, 4), 20)).toBe(true);
    const joined = progress.join(AXES);
    expect(Array.from(joined.outputs[0]?.data ?? [])).toEqual([1, 2, 3, 4, 5]);
    expect([joined.copyMs, joined.computeMs, progress.startedAt]).toEqual([3, 6, 10]);
  });
});

describe('gathering, cutting and joining', () => {
  /** Deterministic draws: the same cases in every run. */
  function draws(seed: number): (limit: number) => number {
    let state = seed;
    return (limit) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (state >>> 8) % limit;
    };
  }

  it('give every request its own items in order, whatever waits, and run nothing twice', () => {
    const draw = draws(23);
    for (let round = 0; round < 200; round += 1) {
      const lanes = [1, 2, 4, 8].filter(() => draw(2) === 0).map((size) => lane(size, 1 + draw(10)));
      if (lanes.length === 0) lanes.push(lane(3, 2));
      let value = 0;
      const requests = Array.from({ length: 1 + draw(9) }, () => {
        const items = 1 + draw(12);
        const data = Uint8Array.from({ length: items * 4 }, () => {
          value = (value + 1) % 251;
          return value;
        });
        const inputs = [{ name: 'x', dtype: 'uint8' as const, dims: [items, 4], data }];
        return work(items, { inputs, alone: draw(8) === 0, shared: draw(4) === 0 ? 'other' : '' });
      });
      const answers = new Map<Work, number[]>();
      let ran = 0;
      for (let waiting = requests; waiting.length > 0; ) {
        const { turn } = plan(waiting, lanes);
        expect(turn.run).not.toBeNull();
        const run = turn.run ?? { lane: lane(1, 1), parts: [] };
        const { parts } = run;
        expect(parts.reduce((sum, part) => sum + part.count, 0)).toBeLessThanOrEqual(run.lane.batch?.size ?? 1);
        expect(new Set(parts.map((part) => part.work.shared)).size).toBe(1);
        if (parts.some((part) => part.work.alone)) expect(parts).toHaveLength(1);
        for (const part of parts) {
          const [x] = itemOf(part, run.lane).inputs;
          if (x === undefined) throw new Error('no input');
          const outputs = [{ ...x, name: 'y' }];
          ran += part.count;
          if (part.work.progress.end(part.from, part.count, { outputs, copyMs: 0, computeMs: 1 }, 0)) {
            answers.set(part.work, Array.from(part.work.progress.join(AXES).outputs[0]?.data ?? []));
          }
        }
        waiting = waiting.filter((one) => !turn.taken.includes(one));
      }
      expect(ran).toBe(requests.reduce((sum, request) => sum + request.items, 0));
      for (const request of requests) expect(answers.get(request)).toEqual(Array.from(request.inputs[0]?.data ?? []));
    }
  });
});
