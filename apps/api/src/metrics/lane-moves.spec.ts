import type { LaneState } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { LaneMoves, type SeenLane } from './lane-moves.js';

function watched() {
  const events: string[] = [];
  const moves = new LaneMoves(({ id }, event) => events.push(`${id} ${event ?? 'new'}`));
  const lane = (id: string, state: LaneState): SeenLane => ({ id, model: 'm', version: '1', state });
  return { events, moves, lane };
}

describe('LaneMoves', () => {
  it('tells each move that somebody would be told of, once', () => {
    const { events, moves, lane } = watched();
    for (const state of ['QUEUED', 'CREATING', 'VERIFYING', 'READY', 'READY', 'SUSPECT', 'READY', 'FAILED'] as const)
      moves.hear(lane('a', state));
    moves.hear(lane('b', 'DRAINING'));
    moves.hear(lane('b', 'EVICTED'));
    moves.hear(lane('c', 'STALE'));
    expect(events).toEqual([
      'a new',
      'a ready',
      'a suspect',
      'a ready',
      'a failed',
      'b new',
      'b evicted',
      'c new',
      'c stale',
    ]);
  });

  it('takes what was there before it as no event, and a document that was read before a notice came as nothing', () => {
    const { events, moves, lane } = watched();
    moves.note([lane('a', 'READY')]);
    moves.hear(lane('a', 'READY'));
    moves.hear(lane('b', 'READY'));
    moves.note([lane('b', 'VERIFYING')]);
    moves.hear(lane('b', 'READY'));
    expect(events).toEqual(['a new', 'b new', 'b ready']);
  });

  it('forgets lanes whose documents are gone', () => {
    const { moves, lane } = watched();
    moves.note([lane('a', 'FAILED'), lane('b', 'READY')]);
    moves.forget(['a']);
    expect(moves.ids).toEqual(['b']);
  });
});
