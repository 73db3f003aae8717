import { describe, expect, it } from 'vitest';
import { OptionError } from './option-error.js';
import type { OptionType } from './provider-option.js';
import { PROVIDER_OPTIONS } from './provider-option-table.js';
import {
  findOption,
  parseModelOptions,
  parseOptions,
  parseOptionsByProvider,
  printModelOptions,
  printOptions,
} from './provider-options.js';

function refusal(run: () => unknown): OptionError {
  try {
    run();
  } catch (error) {
    if (error instanceof OptionError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

/** Canonical values that a type allows. */
function examples(type: OptionType): string[] {
  switch (type.kind) {
    case 'bool':
      return ['0', '1'];
    case 'enum':
      return [...type.values];
    case 'int':
      return [String(type.min), String(type.max)];
    case 'bytes':
      return ['1073741824', '18446744073709551615'];
    case 'text':
      return [];
  }
}

describe('the provider-option table', () => {
  it('has every key once over all scopes, each with its source', () => {
    const keys = PROVIDER_OPTIONS.map((option) => option.key);
    expect(new Set(keys).size).toBe(keys.length);
    for (const option of PROVIDER_OPTIONS) {
      expect(option.source, option.key).not.toBe('');
      expect(option.about, option.key).not.toBe('');
      expect(option.since, option.key).toMatch(/^1\.[0-9]+$/);
    }
  });

  it('knows every option of the CUDA provider 1.29', () => {
    const known = PROVIDER_OPTIONS.filter((option) => option.scope === 'cuda').map((option) => option.key);
    expect(known.sort()).toEqual(
      [
        'arena_extend_strategy cudnn_conv1d_pad_to_nc1d cudnn_conv_algo_search cudnn_conv_use_max_workspace device_id',
        'do_copy_in_default_stream enable_cuda_graph enable_cudnn enable_skip_layer_norm_strict_mode fuse_conv_bias',
        'gpu_external_alloc gpu_external_empty_cache gpu_external_free gpu_mem_limit has_user_compute_stream prefer_nhwc',
        'sdpa_kernel tunable_op_enable tunable_op_max_tuning_duration_ms tunable_op_tuning_enable',
        'use_ep_level_unified_stream use_tf32 user_compute_stream',
      ]
        .join(' ')
        .split(' ')
        .sort(),
    );
  });

  it('prints what it parses and parses what it prints', () => {
    for (const option of PROVIDER_OPTIONS.filter((candidate) => candidate.refused === undefined)) {
      const defaults = option.default === '' ? [] : [option.default];
      for (const value of [...examples(option.type), ...defaults]) {
        const parsed = parseOptions(option.scope, { [option.key]: value });
        expect(parsed).toEqual({ [option.key]: value });
        expect(parseOptions(option.scope, printOptions(option.scope, parsed))).toEqual(parsed);
      }
    }
  });
});

describe('values', () => {
  it('become canonical strings of ONNX Runtime', () => {
    expect(
      parseOptions('cuda', {
        use_tf32: false,
        prefer_nhwc: 'True',
        gpu_mem_limit: '512MiB',
        sdpa_kernel: 8,
        cudnn_conv_algo_search: 'HEURISTIC',
      }),
    ).toEqual({
      use_tf32: '0',
      prefer_nhwc: '1',
      gpu_mem_limit: '536870912',
      sdpa_kernel: '8',
      cudnn_conv_algo_search: 'HEURISTIC',
    });
    expect(printOptions('cuda', { use_tf32: '0', gpu_mem_limit: '536870912' })).toEqual({
      use_tf32: false,
      gpu_mem_limit: 536_870_912,
    });
  });

  it.each([
    ['cuda', 'cudnn_conv_algo_search', 'exhaustive', 'EXHAUSTIVE, HEURISTIC, DEFAULT'],
    ['cuda', 'use_tf32', '2', 'true or false'],
    ['cuda', 'use_tf32', null, 'true or false'],
    ['cuda', 'gpu_mem_limit', '12MB', '512MiB'],
    ['cuda', 'gpu_mem_limit', -1, 'bytes'],
    ['cuda', 'gpu_mem_limit', '18446744073709551616', 'bytes'],
    ['session', 'intra_op_num_threads', 1.5, 'from 0 to 1024'],
    ['session', 'intra_op_num_threads', 99_999, 'from 0 to 1024'],
    ['session', 'session.intra_op.spin_backoff_max', 0, 'from 1 to 64'],
    ['run', 'memory.enable_memory_arena_shrinkage', 'gpu', 'cpu:0;gpu:0'],
    ['session', 'intra_op_num_threads', { n: 1 }, 'from 0 to 1024'],
  ] as const)('of %s %s cannot be %o', (scope, key, value, allowed) => {
    const error = refusal(() => parseOptions(scope, { [key]: value }));
    expect(error.code).toBe('bad-request');
    expect(error.key).toBe(key);
    expect(error.hint).toContain(allowed);
  });
});

describe('keys', () => {
  it.each([
    ['cudnnConvAlgoSearch', 'cudnn_conv_algo_search'],
    ['cudnn_conv_algo', 'cudnn_conv_algo_search'],
    ['use_tf_32', 'use_tf32'],
    ['intraOpNumThreads', 'intra_op_num_threads'],
    ['set_denormal_as_zero', 'session.set_denormal_as_zero'],
    ['gpu_memory_limit', 'gpu_mem_limit'],
  ])('%s is refused naming %s', (key, nearest) => {
    const error = refusal(() => parseModelOptions('cuda', { [key]: 1 }));
    expect(error.nearest).toBe(nearest);
    expect(error.message).toContain(key);
    expect(error.hint).toContain(nearest);
  });

  it.each([
    ['tunable_op_enable', 'not supported'],
    ['user_compute_stream', 'stream'],
    ['gpu_external_alloc', 'gpu_mem_limit'],
    ['gpu_graph_id', 'one graph'],
    ['device_id', '--device'],
    ['session.disable_cpu_ep_fallback', 'fallback: error'],
  ])('%s is known and refused, saying why', (key, why) => {
    expect(findOption(key)).not.toBeNull();
    expect(refusal(() => parseModelOptions('cuda', { [key]: '1' })).hint).toContain(why);
  });

  it('of the other provider are refused', () => {
    const error = refusal(() => parseModelOptions('cpu', { use_tf32: 1 }));
    expect(error.message).toContain("'use_tf32' is an option of cuda");
  });
});

describe('a model', () => {
  const options = {
    cudnn_conv_use_max_workspace: 0,
    'session.intra_op.allow_spinning': false,
    intra_op_num_threads: 2,
    'memory.enable_memory_arena_shrinkage': 'gpu:0',
  };

  it('has one flat map that splits by scope', () => {
    const parsed = parseModelOptions('cuda', options);
    expect(parsed).toEqual({
      provider: { cudnn_conv_use_max_workspace: '0' },
      session: { 'session.intra_op.allow_spinning': '0', intra_op_num_threads: '2' },
      run: { 'memory.enable_memory_arena_shrinkage': 'gpu:0' },
    });
    expect(parseModelOptions('cuda', printModelOptions('cuda', parsed))).toEqual(parsed);
  });

  it('whose provider is open gives each provider its own', () => {
    const parsed = parseOptionsByProvider({ ...options, use_arena: false });
    expect(parsed.cpu.provider).toEqual({ use_arena: '0' });
    expect(parsed.cuda.provider).toEqual({ cudnn_conv_use_max_workspace: '0' });
    expect(parsed.cpu.session).toEqual(parsed.cuda.session);
    expect(refusal(() => parseOptionsByProvider({ use_arenas: 1 })).nearest).toBe('use_arena');
  });

  it('cannot smuggle keys of the object prototype', () => {
    expect(refusal(() => parseModelOptions('cpu', { constructor: 1 })).key).toBe('constructor');
    expect(refusal(() => parseModelOptions('cpu', JSON.parse('{"__proto__": 1}'))).key).toBe('__proto__');
  });
});
