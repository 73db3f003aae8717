import { type ParsedOptions, parseModelOptions, type TuningCandidate } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import type { TuningTraits } from './candidates.js';
import {
  defaultsOf,
  incumbentOf,
  nextTrial,
  optionsOfChoice,
  type ShapeFindings,
  type Trial,
  withoutFigures,
} from './search.js';

const REC: TuningTraits = { provider: 'cuda', conv: true, conv1d: false, float32: true, cpus: 2 };
const none = parseModelOptions('cuda', {});

type Fate = number | Pick<TuningCandidate, 'outcome' | 'reason'>;

/** Runs a whole search in a simulated world. */
function search(
  traits: TuningTraits,
  given: ParsedOptions,
  keys: string[],
  fate: (shapeKey: string, options: ParsedOptions) => Fate,
): { trials: Trial[]; shapes: ShapeFindings[] } {
  const shapes = keys.map((shapeKey) => ({ shapeKey, found: [] as TuningCandidate[] }));
  const trials: Trial[] = [];
  for (let trial = nextTrial(traits, given, shapes); trial !== null; trial = nextTrial(traits, given, shapes)) {
    trials.push(trial);
    if (trials.length > 20) throw new Error('the search does not end');
    for (const { shapeKey, options } of trial.shapes) {
      const result = fate(shapeKey, options);
      const bare = withoutFigures(traits.provider, trial.name, options, { outcome: 'measured', reason: '' });
      const found = typeof result === 'number' ? { ...bare, p50Ms: result } : { ...bare, ...result };
      shapes.find((shape) => shape.shapeKey === shapeKey)?.found.push(found);
    }
  }
  return { trials, shapes };
}

const WRONG: Fate = { outcome: 'wrong-numbers', reason: '' };
/** An H100 with rec [1,3,48,320], as measured: graph lanes 0.87 to 28 ms, NaN by fused bias, no capture by nhwc. */
function h100(_: string, { provider }: ParsedOptions): Fate {
  if (provider.fuse_conv_bias === '1') return { outcome: 'nan', reason: '' };
  if (provider.prefer_nhwc === '1') return 4.2;
  if (provider.enable_cuda_graph === '0') return 3.3;
  const searched = provider.cudnn_conv_algo_search ?? 'EXHAUSTIVE';
  if (provider.use_tf32 === '0') return searched === 'HEURISTIC' ? 15.6 : searched === 'DEFAULT' ? 40 : 1.81;
  return { EXHAUSTIVE: 1.02, HEURISTIC: 0.87, DEFAULT: 23 }[searched] ?? 1;
}

describe('nextTrial', () => {
  it('tries one candidate at a time with all shapes, later ones over the fastest search of each shape', () => {
    const { trials } = search(REC, none, ['a', 'b'], (shape, options) => {
      const found = h100(shape, options);
      // On shape b the exhaustive search is the better one.
      return shape === 'b' && options.provider.cudnn_conv_algo_search === 'HEURISTIC' ? 2 : found;
    });
    expect(trials.map((trial) => trial.name)).toEqual([
      'ort-defaults',
      'exhaustive',
      'heuristic',
      'default',
      'no-tf32',
      'workspace-0',
      'arena-as-requested',
      'nhwc',
      'fused-conv-bias',
    ]);
    for (const trial of trials) expect(trial.shapes.map((shape) => shape.shapeKey)).toEqual(['a', 'b']);
    const workspace = trials[5]?.shapes.map(({ options }) => options.provider.cudnn_conv_algo_search);
    expect(workspace).toEqual(['HEURISTIC', 'EXHAUSTIVE']);
  });

  it('a model whose tolerance refuses tf32 gets every search without it, and goes on from the fastest of those', () => {
    const strict = (shape: string, options: ParsedOptions): Fate =>
      options.provider.use_tf32 === '0' ? h100(shape, options) : WRONG;
    const { trials, shapes } = search(REC, none, ['a'], strict);
    expect(trials.map((trial) => trial.name)).toContain('exhaustive-no-tf32');
    const workspace = trials.find((trial) => trial.name === 'workspace-0')?.shapes[0]?.options.provider;
    expect(workspace).toMatchObject({ use_tf32: '0', cudnn_conv_algo_search: 'EXHAUSTIVE' });
    expect(shapes[0]?.found.length).toBeLessThanOrEqual(12);
  });

  it('goes on where another left: what is recorded is not tried again, whatever came of it', () => {
    const crashed = { outcome: 'crashed', reason: 'SIGSEGV' } as const;
    const whole = search(REC, none, ['a'], (shape, options) =>
      options.provider.cudnn_conv_algo_search === 'HEURISTIC' ? crashed : h100(shape, options),
    );
    expect(whole.shapes[0]?.found.filter(({ outcome }) => outcome === 'crashed')).toHaveLength(1);
    const some = whole.shapes.map(({ shapeKey, found }) => ({ shapeKey, found: found.slice(0, 4) }));
    expect(nextTrial(REC, none, some)).toEqual(whole.trials[4]);
  });

  it('a shape that is added later has its own trials only', () => {
    const { shapes } = search(REC, none, ['a'], h100);
    const next = nextTrial(REC, none, [...shapes, { shapeKey: 'new', found: [] }]);
    expect(next).toMatchObject({ name: 'ort-defaults', shapes: [{ shapeKey: 'new' }] });
  });

  it('ends where everything crashes', () => {
    const { trials } = search(REC, none, ['a'], () => ({ outcome: 'crashed', reason: '' }));
    expect(trials.length).toBeLessThanOrEqual(12);
  });

  it('CPU: no option set is tried twice under two names', () => {
    const { trials } = search({ ...REC, provider: 'cpu' }, none, ['a'], (_, { session }) =>
      session.intra_op_num_threads === '2' ? 5 : 8,
    );
    expect(trials.map((trial) => trial.name)).toEqual([
      'ort-defaults',
      'threads-1',
      'threads-2',
      'no-spinning',
      'no-memory-pattern',
      'no-arena',
      'optimization-extended',
      'optimization-basic',
    ]);
    expect(trials.at(-1)?.shapes[0]?.options.session).toEqual({
      intra_op_num_threads: '2',
      graph_optimization_level: 'ORT_ENABLE_BASIC',
    });
  });
});

describe('what a choice makes', () => {
  it('a lane without given options is what the exhaustive search with a graph is', () => {
    const { shapes } = search(REC, none, ['a'], h100);
    const found = shapes[0]?.found ?? [];
    expect(incumbentOf('cuda', none, found)?.name).toBe('exhaustive');
    expect(defaultsOf(found)?.name).toBe('ort-defaults');
    const exhaustive = found.find(({ name }) => name === 'exhaustive');
    const heuristic = found.find(({ name }) => name === 'heuristic');
    if (exhaustive === undefined || heuristic === undefined) throw new Error('not tried');
    expect(optionsOfChoice('cuda', none, exhaustive)).toBe(none);
    expect(optionsOfChoice('cuda', none, heuristic).provider).toEqual({ cudnn_conv_algo_search: 'HEURISTIC' });
  });
});
