import { describe, expect, it } from 'vitest';
import { answerHeaders, deadlineHeader, headLength, priorityHeader } from './infer-headers.js';

describe('request headers', () => {
  it('reads the length of the JSON head', () => {
    expect(headLength({}, 10)).toBeNull();
    expect(headLength({ 'inference-header-content-length': '0' }, 10)).toBe(0);
    expect(headLength({ 'inference-header-content-length': '10' }, 10)).toBe(10);
  });

  it.each(['11', '-1', '1e1', ' 5', '0x5', '', '5.0', '9'.repeat(30)])(
    'refuses the length %j of a body of 10 bytes',
    (length) => {
      expect(() => headLength({ 'inference-header-content-length': length }, 10)).toThrow(
        /inference-header-content-length/,
      );
    },
  );

  it('reads deadline and priority in their ranges', () => {
    expect(deadlineHeader({})).toBeNull();
    expect(deadlineHeader({ 'warmlane-deadline-ms': '1' })).toBe(1);
    expect(deadlineHeader({ 'warmlane-deadline-ms': '3600000' })).toBe(3_600_000);
    expect(() => deadlineHeader({ 'warmlane-deadline-ms': '0' })).toThrow(/from 1 to 3600000, got '0'/);
    expect(() => deadlineHeader({ 'warmlane-deadline-ms': '3600001' })).toThrow(/from 1 to 3600000/);
    expect(priorityHeader({ 'warmlane-priority': '0' })).toBe(0);
    expect(() => priorityHeader({ 'warmlane-priority': '10' })).toThrow(/from 0 to 9, got '10'/);
  });
});

describe('answerHeaders', () => {
  it('names lane, shape and the stages', () => {
    const timing = { queueMs: 0.5, gatherMs: 0, copyMs: 0.01, computeMs: 2, totalMs: 3.25 };
    expect(answerHeaders({ lane: 'cold', shapeKey: 'é%3A:float32[1]', timing })).toEqual({
      'warmlane-lane': 'cold',
      'warmlane-shape': '%C3%A9%3A:float32[1]',
      'server-timing': 'queue;dur=0.500, gather;dur=0.000, copy;dur=0.010, compute;dur=2.000, total;dur=3.250',
    });
  });
});
