import type { LaneDoc, WarmupDoc } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { finalState, type SlotFacts, slotsOf, toView, viewSlots } from './warmup-slots.js';

const A = 'x:float32[1,1]';
const B = 'x:float32[1,2]';

function warmup(over: Partial<WarmupDoc> = {}): WarmupDoc {
  return {
    id: 'f'.repeat(32),
    model: 'm',
    version: '1',
    shapes: [A, B],
    added: [],
    replicas: null,
    priority: 5,
    createdAt: '2026-01-01T00:00:00.000Z',
    deadlineAt: 0,
    generation: 1,
    assignments: [
      { shapeKey: A, worker: 'w-0' },
      { shapeKey: B, worker: 'w-1' },
    ],
    canceled: false,
    final: null,
    ...over,
  };
}

function lane(shapeKey: string, worker: string, state: LaneDoc['state'], over: Partial<LaneDoc> = {}): LaneDoc {
  return {
    id: `${shapeKey}-${worker}`,
    model: 'm',
    version: '1',
    shapeKey,
    state,
    since: '2026-01-01T00:00:00.000Z',
    reason: '',
    trigger: 'warmup',
    worker,
    epoch: 1,
    record: null,
    ...over,
  };
}

function view(over: Partial<SlotFacts> = {}) {
  return viewSlots({
    doc: warmup(),
    replicasOf: () => 1,
    lanes: [],
    live: new Map([
      ['w-0', 1],
      ['w-1', 1],
    ]),
    failures: new Map(),
    ...over,
  });
}

const outcomes = (over: Partial<SlotFacts> = {}) =>
  view(over).map((slot) => `${slot.outcome} ${slot.state} ${slot.worker}`);

describe('slotsOf', () => {
  it('keeps the number of a slot whatever the other shapes’ replicas are', () => {
    const numbers = (replicas: Record<string, number>) =>
      slotsOf(warmup(), (shapeKey) => replicas[shapeKey] ?? 1).map(({ n, shapeKey }) => [n, shapeKey]);
    expect(numbers({})).toEqual([
      [0, A],
      [1, B],
    ]);
    expect(numbers({ [B]: 2 })).toEqual([
      [0, A],
      [1, B],
      [3, B],
    ]);
    expect(slotsOf(warmup({ replicas: 3 }), () => 1)).toHaveLength(6);
  });
});

describe('viewSlots', () => {
  it('waits for assigned workers, and shows how far their lanes are', () => {
    expect(outcomes()).toEqual(['open QUEUED w-0', 'open QUEUED w-1']);
    expect(outcomes({ lanes: [lane(A, 'w-0', 'MEASURING')] })).toEqual(['open MEASURING w-0', 'open QUEUED w-1']);
    expect(outcomes({ doc: warmup({ assignments: [] }) })).toEqual(['open QUEUED null', 'open QUEUED null']);
  });

  it('counts what serves on a live worker in its current epoch, whoever warmed it', () => {
    expect(outcomes({ lanes: [lane(A, 'w-0', 'READY'), lane(B, 'w-1', 'SUSPECT')] })).toEqual([
      'ready READY w-0',
      'ready SUSPECT w-1',
    ]);
    expect(outcomes({ lanes: [lane(A, 'w-1', 'READY')] })[0]).toBe('ready READY w-1');
    expect(outcomes({ lanes: [lane(A, 'w-0', 'READY', { epoch: 0 })] })[0]).toBe('open READY w-0');
    expect(outcomes({ lanes: [lane(A, 'dead-0', 'READY')] })[0]).toBe('open QUEUED w-0');
  });

  it('takes failures from the children, not from lanes that an earlier warm-up left behind', () => {
    expect(outcomes({ lanes: [lane(A, 'w-0', 'FAILED')] })[0]).toBe('open QUEUED w-0');
    const failures = new Map([[0, { worker: 'w-0', reason: 'the graph refuses it' }]]);
    expect(view({ failures, lanes: [lane(A, 'w-0', 'FAILED')] })[0]).toMatchObject({
      outcome: 'failed',
      state: 'FAILED',
      reason: 'the graph refuses it',
    });
    expect(outcomes({ failures, lanes: [lane(A, 'w-0', 'READY')] })[0]).toBe('ready READY w-0');
  });

  it('gives a ready lane to the slot that is open before the one that failed', () => {
    const doc = warmup({
      shapes: [A],
      replicas: 2,
      assignments: [
        { shapeKey: A, worker: 'w-0' },
        { shapeKey: A, worker: 'w-1' },
      ],
    });
    const failures = new Map([[0, { worker: 'w-0', reason: 'no memory' }]]);
    expect(outcomes({ doc, failures, lanes: [lane(A, 'w-1', 'READY')] })).toEqual([
      'failed FAILED w-0',
      'ready READY w-1',
    ]);
    expect(outcomes({ doc, failures })).toEqual(['failed FAILED w-0', 'open QUEUED w-1']);
    expect(outcomes({ doc, lanes: [lane(A, 'w-1', 'READY')] })).toEqual(['ready READY w-1', 'open QUEUED w-0']);
  });

  it('sums up', () => {
    const slots = view({ lanes: [lane(A, 'w-0', 'READY')] });
    expect(finalState(slots)).toBe('partial');
    expect(finalState(view())).toBe('failed');
    expect(finalState(view({ lanes: [lane(A, 'w-0', 'READY'), lane(B, 'w-1', 'READY')] }))).toBe('ready');
    expect(toView(warmup(), slots, 'partial', 'its deadline has passed')).toMatchObject({
      total: 2,
      ready: 1,
      failed: 0,
      state: 'partial',
      lanes: [{ shapeKey: A }, { shapeKey: B }],
    });
  });
});
