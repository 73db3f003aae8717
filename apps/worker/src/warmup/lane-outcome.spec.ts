import { describe, expect, it } from 'vitest';
import { type JudgedLane, laneOutcome } from './lane-outcome.js';

const lane = (over: Partial<JudgedLane>): JudgedLane => ({
  state: 'READY',
  trigger: 'warmup',
  reason: '',
  triedFor: new Set(['w']),
  ...over,
});

describe('what a lane means for the job that waits for it', () => {
  it('is judged by its state once it was tried for this warm-up', () => {
    expect(laneOutcome(lane({}), 'w')).toEqual({ kind: 'ready' });
    expect(laneOutcome(lane({ state: 'SUSPECT' }), 'w')).toEqual({ kind: 'ready' });
    expect(laneOutcome(lane({ state: 'SEARCHING' }), 'w')).toEqual({ kind: 'wait' });
    expect(laneOutcome(lane({ state: 'FAILED', reason: 'off by 2' }), 'w')).toEqual({
      kind: 'failed',
      reason: 'off by 2',
    });
    expect(laneOutcome(lane({ state: 'EVICTED', trigger: 'version', reason: 'the model was unloaded' }), 'w')).toEqual({
      kind: 'failed',
      reason: 'the model was unloaded',
    });
  });

  it('is asked of the plan where no lane was tried for it', () => {
    expect(laneOutcome(null, 'w')).toEqual({ kind: 'plan' });
    expect(laneOutcome(lane({ state: 'FAILED' }), 'another')).toEqual({ kind: 'plan' });
  });

  it('is asked of the plan where the lane went to a worker that joined, which is no failure', () => {
    const moved = lane({ state: 'EVICTED', trigger: 'plan', reason: 'it belongs on cpu-1' });
    expect(laneOutcome(moved, 'w')).toEqual({ kind: 'plan' });
  });
});
