import type { LaneDoc } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { type DemoFacts, printResult, type Served, summarize, verdict } from './demo-result.js';

const lane = (shapeKey: string, state: LaneDoc['state']): LaneDoc => ({
  id: 'l',
  model: 'rec',
  version: '1',
  shapeKey,
  state,
  since: '2026-01-01T00:00:00.000Z',
  reason: '',
  trigger: 'plan',
  worker: 'w',
  epoch: 1,
  record: {
    firstMs: 30,
    createMs: 1,
    captureMs: null,
    steadyP50Ms: 8,
    steadyP99Ms: 9.5,
    revisitP50Ms: 8,
    revisit: 'shapes',
    relativeError: 1e-6,
    tolerance: 1e-4,
    inputs: 'declared',
    samples: 2,
    optionsParsed: {},
    placement: {},
    graph: 'none on the CPU',
    memoryBytes: 1,
    environment: 'e',
    verifiedAt: '2026-01-01T00:00:00.000Z',
  },
});
const shape = (shapeKey: string, named: boolean) => ({ model: 'rec', shapeKey, named, samples: [] });
const served = (at: number, name: string, error = 1e-7, wrong = false): Served => ({
  shape: at,
  lane: name,
  error,
  wrong,
});
const facts = (over: Partial<DemoFacts> = {}): DemoFacts => ({
  provider: 'cpu',
  providerReason: 'CPU: no NVIDIA device',
  shapes: [shape('x:float32[1]', true), shape('x:float32[2]', false)],
  lanes: [lane('x:float32[1]', 'READY')],
  plainRevisitMs: [8.2, 9],
  served: [served(0, 'ready'), served(0, 'cold', 2e-6), served(1, 'cold')],
  ...over,
});

describe('the result of the demo', () => {
  it('has a row for each named shape, the worst error of all, and counts who served', () => {
    expect(summarize(facts())).toEqual({
      ok: true,
      provider: 'cpu',
      providerReason: 'CPU: no NVIDIA device',
      lanes: [
        {
          model: 'rec',
          shapeKey: 'x:float32[1]',
          state: 'READY',
          firstMs: 30,
          plainRevisitMs: 8.2,
          p50Ms: 8,
          p99Ms: 9.5,
          relativeError: 2e-6,
          servedBy: 'ready 1, cold 1',
        },
      ],
      requests: { total: 3, ready: 1, padded: 0, cold: 2, wrong: 0 },
    });
  });

  it('is not ok with a lane that is not READY, a wrong answer, or no answer at all', () => {
    expect(summarize(facts({ lanes: [lane('x:float32[1]', 'SUSPECT')] })).ok).toBe(false);
    expect(summarize(facts({ lanes: [] })).ok).toBe(false);
    expect(summarize(facts({ served: [served(0, 'ready', 1, true)] })).ok).toBe(false);
    expect(summarize(facts({ served: [] })).ok).toBe(false);
  });

  it('prints one table and says what warm-up gains on the CPU', () => {
    const text = printResult(summarize(facts()), facts());
    expect(text).toContain('not named');
    expect(text).toContain('3 requests: 1 ready, 0 padded, 2 cold, 0 wrong.');
    expect(text).toContain('On the CPU warm-up saves the first run only');
    expect(text).toContain('Provider: CPU: no NVIDIA device.');
    const cuda = summarize(facts({ provider: 'cuda' }));
    expect(verdict(cuda)).toContain('takes 8.20 ms every time');
  });
});
