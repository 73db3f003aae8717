import { LANE_STATES } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { isServing, isSettled, isStanding, isWarming, mayMove } from './states.js';

describe('lane states', () => {
  it('lead from QUEUED to READY in order, and back to QUEUED from every step', () => {
    const way = ['QUEUED', 'CREATING', 'SEARCHING', 'CAPTURING', 'MEASURING', 'VERIFYING', 'READY'] as const;
    way.slice(1).forEach((state, at) => {
      expect(mayMove(way[at] ?? 'QUEUED', state)).toBe(true);
      expect(mayMove(state, 'QUEUED')).toBe(true);
    });
    expect(mayMove('QUEUED', 'READY')).toBe(false);
    expect(mayMove('FAILED', 'READY')).toBe(false);
    expect(mayMove('EVICTED', 'READY')).toBe(false);
    expect(mayMove('STALE', 'READY')).toBe(true);
  });

  it('stand in the runtime from the end of their capture on', () => {
    expect(LANE_STATES.filter(isStanding)).toEqual(['MEASURING', 'VERIFYING', 'READY', 'SUSPECT']);
  });

  it('are each serving, warming, leaving or at rest', () => {
    for (const state of LANE_STATES) {
      const kinds = [
        isServing(state),
        isWarming(state),
        state === 'DRAINING',
        ['EVICTED', 'FAILED', 'STALE'].includes(state),
      ];
      expect(kinds.filter(Boolean), state).toHaveLength(1);
      if (isServing(state)) expect(isStanding(state)).toBe(true);
      expect(isSettled(state)).toBe(!isWarming(state) && state !== 'DRAINING');
    }
  });
});
