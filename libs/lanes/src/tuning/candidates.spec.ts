import { findOption, parseModelOptions } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { candidateRules, canonicalOptions, changed, MOST_CANDIDATES, type TuningTraits } from './candidates.js';

const REC: TuningTraits = { provider: 'cuda', conv: true, conv1d: false, float32: true, cpus: 16 };
const CPU: TuningTraits = { ...REC, provider: 'cpu' };
const none = parseModelOptions('cuda', {});
const names = (traits: TuningTraits, given = none, noneRight = false): string[] =>
  candidateRules(traits, given, noneRight).map((rule) => rule.name);

describe('candidateRules', () => {
  it('CUDA: defaults, the three searches, and each other option once', () => {
    expect(names(REC)).toEqual([
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
  });

  it('are 12 at most, and set only what the option table knows', () => {
    for (const provider of ['cpu', 'cuda'] as const) {
      for (const bits of Array.from({ length: 16 }, (_, at) => at)) {
        const flag = (bit: number) => (bits & (1 << bit)) > 0;
        const traits: TuningTraits = { provider, conv: flag(0), conv1d: flag(1), float32: flag(2), cpus: 64 };
        const rules = candidateRules(traits, none, flag(3));
        expect(rules.length).toBeLessThanOrEqual(MOST_CANDIDATES);
        expect(new Set(rules.map((rule) => rule.name)).size).toBe(rules.length);
        for (const { change } of rules) {
          for (const key of Object.keys(change?.set ?? {})) {
            expect(findOption(key)?.scope, key).toBe(change?.scope);
            expect(findOption(key)?.refused, key).toBeUndefined();
            expect(() => parseModelOptions(provider, change?.set ?? {})).not.toThrow();
          }
        }
      }
    }
  });

  it('1-d convolutions have their padding tried, models without float32 no tf32, without convolutions no search', () => {
    expect(names({ ...REC, conv1d: true })).toContain('conv1d-pad-1');
    expect(names({ ...REC, float32: false })).not.toContain('no-tf32');
    expect(names({ ...REC, conv: false })).toEqual(['ort-defaults', 'graph', 'no-tf32', 'arena-as-requested']);
  });

  it('where tf32 is too coarse every search is tried without it: the fastest with it may be the slowest without', () => {
    const found = names({ ...REC, conv1d: true }, none, true);
    expect(found).toEqual(expect.arrayContaining(['exhaustive-no-tf32', 'heuristic-no-tf32', 'default-no-tf32']));
    expect(found).not.toContain('no-tf32');
    expect(found).toHaveLength(12);
  });

  it('keep what is given', () => {
    const given = parseModelOptions('cuda', { cudnn_conv_algo_search: 'HEURISTIC', use_tf32: 0 });
    expect(names(REC, given)).toEqual([
      'ort-defaults',
      'configured',
      'workspace-0',
      'arena-as-requested',
      'nhwc',
      'fused-conv-bias',
    ]);
    expect(names(REC, parseModelOptions('cuda', { enable_cuda_graph: 0 }))).not.toContain('ort-defaults');
    expect(names(CPU, parseModelOptions('cpu', { use_arena: 0 }))).not.toContain('no-arena');
  });

  it('CPU: threads, then over the best of them the rest', () => {
    expect(names(CPU)).toEqual([
      'ort-defaults',
      'threads-1',
      'threads-8',
      'threads-16',
      'no-spinning',
      'no-memory-pattern',
      'no-arena',
      'optimization-extended',
      'optimization-basic',
    ]);
    expect(names({ ...CPU, cpus: 1.5 }).filter((name) => name.startsWith('threads'))).toEqual(['threads-1']);
  });
});

describe('canonicalOptions', () => {
  it('takes a default for what is not given', () => {
    const exhaustive = changed(none, { scope: 'cuda', set: { cudnn_conv_algo_search: 'EXHAUSTIVE' } });
    expect(canonicalOptions('cuda', exhaustive)).toBe(canonicalOptions('cuda', none));
    const plain = changed(none, { scope: 'cuda', set: { enable_cuda_graph: '0' } });
    expect(canonicalOptions('cuda', plain)).not.toBe(canonicalOptions('cuda', none));
    const threads = changed(none, { scope: 'session', set: { intra_op_num_threads: '0' } });
    expect(canonicalOptions('cpu', threads)).toBe(canonicalOptions('cpu', none));
  });
});
