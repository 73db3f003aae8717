import type { TuningCandidate, TuningView } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { urlOf } from './tune.command.js';
import { printTunings } from './tuning-table.js';

const candidate = (over: Partial<TuningCandidate>): TuningCandidate => ({
  name: 'heuristic',
  options: { cudnn_conv_algo_search: 'HEURISTIC' },
  outcome: 'won',
  firstMs: 70,
  p50Ms: 0.87,
  p99Ms: 0.95,
  relativeError: 0.00571,
  memoryBytes: 126 * 2 ** 20,
  reason: '',
  signal: null,
  ...over,
});

const view: TuningView = {
  model: 'rec',
  version: '1',
  shapeKey: 'x:float32[1,3,48,320]',
  environment: 'e'.repeat(64),
  provider: 'cuda',
  device: 'NVIDIA H100',
  state: 'done',
  chosen: 'heuristic',
  candidates: [
    candidate({ name: 'fused-conv-bias', outcome: 'nan', p50Ms: null, p99Ms: null, reason: "output 'y' is NaN" }),
    candidate({ name: 'workspace-0', outcome: 'crashed', p50Ms: null, signal: 'SIGSEGV' }),
    candidate({ name: 'exhaustive', outcome: 'slower', p50Ms: 1.02 }),
    candidate({}),
  ],
  worker: 'w',
  updatedAt: '',
};

describe('printTunings', () => {
  it('shows every candidate, the fastest first, and what is in force', () => {
    const text = printTunings([view]);
    const rows = text.split('\n').filter((line) => /^│ [a-z]/.test(line) && !line.includes('outcome'));
    expect(rows.map((row) => row.split('│')[1]?.trim())).toEqual([
      'heuristic',
      'exhaustive',
      'fused-conv-bias',
      'workspace-0',
    ]);
    expect(rows[0]).toMatch(/won.*0\.870.*0\.950.*5\.7e-3.*126\.0/);
    expect(rows[3]).toContain('crashed (SIGSEGV)');
    expect(text).toContain('rec/1 x:float32[1,3,48,320] on NVIDIA H100');
    expect(text).toContain('chosen: heuristic { cudnn_conv_algo_search: HEURISTIC }');
  });

  it('says how far a search is, that nothing is right, and how to begin', () => {
    expect(printTunings([{ ...view, state: 'searching', chosen: null }])).toContain('searching, 4 candidates tried');
    expect(printTunings([{ ...view, chosen: null }])).toContain('no candidate is right');
    expect(printTunings([])).toContain('tune: true');
  });
});

describe('urlOf', () => {
  it('is what is given, the address that is served, or the default', () => {
    expect(urlOf({ url: 'https://gpu.example/' }, {})).toBe('https://gpu.example');
    expect(urlOf({}, { WARMLANE_HTTP: '127.0.0.1:9000' })).toBe('http://127.0.0.1:9000');
    expect(urlOf({}, {})).toBe('http://127.0.0.1:8000');
    expect(() => urlOf({ url: 'gpu' }, {})).toThrow(/not an address/);
  });
});
